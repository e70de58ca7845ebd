"""Writes open_clip's tokenizers as Hugging Face `tokenizers` files, which need no torch.

The cleaning that open_clip does in Python is written down as rules of the file. Left out are
HTML entities, repair of wrongly decoded text, Latin ligatures and full-width letters (all of them
ftfy's), and the Greek final sigma. Every other text gets the same ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokenizers import Tokenizer
    from tokenizers.normalizers import Normalizer

CONTROL_CHARACTERS = r"[\x00-\x08\x0b\x0e-\x1f\x7f]"
SINGLE_QUOTES = r"[\u02bc\u2018-\u201b]"
DOUBLE_QUOTES = r"[\u201c-\u201f]"
# The characters of Python's string.punctuation.
PUNCTUATION = r"[!-/:-@\[-`{-~]"
# OpenAI's splitting rule: English endings, runs of letters, single digits, runs of the rest.
CLIP_WORD = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def convert_tokenizer(tokenizer: Any) -> Tokenizer:
    """Return a `tokenizers` tokenizer that pads and cuts as open_clip's does.

    Parameters
    ----------
    tokenizer : open_clip.tokenizer.SimpleTokenizer or HFTokenizer
        With its context length.
    """
    from open_clip.tokenizer import SimpleTokenizer

    if isinstance(tokenizer, SimpleTokenizer):
        converted = _byte_pair_tokenizer(tokenizer)
        padding_id = 0
    else:
        from tokenizers import Tokenizer, normalizers

        hub_tokenizer = tokenizer.tokenizer
        converted = Tokenizer.from_str(hub_tokenizer.backend_tokenizer.to_str())
        own = [] if converted.normalizer is None else [converted.normalizer]
        rules = [*_cleaning_rules(tokenizer.clean_fn), *own]
        converted.normalizer = normalizers.Sequence(rules)
        padding_id = hub_tokenizer.pad_token_id
    converted.enable_truncation(tokenizer.context_length)
    converted.enable_padding(
        length=tokenizer.context_length,
        pad_id=padding_id,
        pad_token=converted.id_to_token(padding_id),
    )
    return converted


def _byte_pair_tokenizer(tokenizer: Any) -> Tokenizer:
    """Return CLIP's own tokenizer: byte-level pairs, words end in `</w>`."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary, merges = tokenizer.encoder, list(tokenizer.bpe_ranks)
    converted = Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix="</w>"))
    converted.normalizer = normalizers.Sequence(_cleaning_rules(tokenizer.clean_fn))
    converted.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_WORD), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    begin, end = tokenizer.sot_token_id, tokenizer.eot_token_id
    converted.post_processor = processors.TemplateProcessing(
        single="<start_of_text> $A <end_of_text>",
        special_tokens=[("<start_of_text>", begin), ("<end_of_text>", end)],
    )
    return converted


def _cleaning_rules(clean: Callable[[str], str]) -> list[Normalizer]:
    """Return the rules for one of open_clip's cleaning functions."""
    from open_clip.tokenizer import get_clean_fn
    from tokenizers import Regex, normalizers

    rules = [
        normalizers.NFC(),
        normalizers.Replace(Regex(CONTROL_CHARACTERS), ""),
        normalizers.Replace(Regex(SINGLE_QUOTES), "'"),
        normalizers.Replace(Regex(DOUBLE_QUOTES), '"'),
    ]
    if clean is get_clean_fn("canonicalize"):
        rules.append(normalizers.Replace("_", " "))
        rules.append(normalizers.Replace(Regex(PUNCTUATION), ""))
    if clean is not get_clean_fn("whitespace"):
        rules.append(normalizers.Lowercase())
    return [*rules, normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
