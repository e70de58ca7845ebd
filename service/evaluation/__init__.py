"""The bench behind `isophote eval`: how well a collection's vectors serve a labelled task."""
