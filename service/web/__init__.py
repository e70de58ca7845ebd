"""What the command line answers, over HTTP and in a page."""
