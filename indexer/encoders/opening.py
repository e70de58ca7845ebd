"""Opens whatever encoder a user names."""

from pathlib import Path

from indexer.encoders.encoder import Encoder
from schemas.errors import InputError

POCKET = "pocket"


def open_encoder(model: str, *, pretrained: str | None, device: str, n_threads: int) -> Encoder:
    """Open the built-in model, a model directory, or an open_clip model.

    Only the packages of the chosen kind are imported.

    Parameters
    ----------
    model : str
        ``pocket``; the path of a model directory (see `indexer.encoders.onnx`); an open_clip
        architecture; or ``local-dir:`` and the directory of an open_clip model.
    pretrained : str or None
        A tag or checkpoint file, for an open_clip architecture only.
    device : {"auto", "cpu", "cuda"}
        ONNX models run on the CPU whatever it says.
    n_threads : int
        Threads of a forward pass on the CPU, at least 1.

    Raises
    ------
    ModelError, MissingExtraError, InputError, ValueError
        As `open_onnx_model` and `open_openclip_model` do; InputError also where `pretrained` is
        given for a model that has its own weights.
    """
    is_directory = (Path(model) / "model.json").is_file()
    if model != POCKET and not is_directory:
        from indexer.encoders.openclip import open_openclip_model

        return open_openclip_model(model, pretrained=pretrained, device=device, n_threads=n_threads)
    if pretrained is not None:
        raise InputError(f"{model} brings its own weights; leave out --pretrained {pretrained}")
    from indexer.encoders.onnx import POCKET_DIRECTORY, open_onnx_model

    directory = POCKET_DIRECTORY if model == POCKET else Path(model)
    return open_onnx_model(directory, n_threads=n_threads)
