"""How much alike photos are asked to be. Apart from the records, which take long to import."""

from typing import Literal

Tier = Literal["bytes", "pixels", "near", "similar"]
"""How much alike two photos are, the strictest first; each tier holds those before it.

bytes: the files are the same. pixels: so are the decoded, upright pixels. near: one was made from
the other or both from a third, by resizing, recompressing, mirroring, turning, light cropping or
editing. similar: the embeddings are close, as those of two photos of one scene may be.
"""

Strictness = Literal["strict", "normal", "loose"]
"""How often unrelated photos may be paired: the strict ask for the most likeness."""
