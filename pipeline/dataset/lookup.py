"""Assets by what a user calls them: an asset_id, a prompt_id, or the first digits of an asset_id.

A whole name goes before a beginning: where a word is the prompt_id of one asset and the first
digits of another, the prompt_id is meant, however many assets come later that begin so. But eight
digits or more with which one asset_id begins are that one: a prompt_id is looked for in all rows.
"""

import re
from collections.abc import Sequence, Set

from pipeline.dataset import catalog
from pipeline.dataset.asset_names import SHARDS
from pipeline.errors import UserError
from pipeline.store import Store

_DIGITS = re.compile(r"[0-9a-f]{1,32}")
_CERTAIN = 8
"""Digits that are no prompt_id where an asset_id begins so."""
_SHOWN = 4


def find(store: Store, words: Sequence[str]) -> list[str]:
    """The ids of the assets that the words name, in their order and each once.

    UserError for a word that names none, or several.
    """
    beginning = {word: _beginning(store, word) for word in words}
    certain = {word for word in words if len(word) >= _CERTAIN and len(beginning[word]) == 1}
    named = _named(store, set(words) - certain)
    found: list[str] = []
    for word in words:
        if word in named:
            found.append(_only(word, named[word], "assets have this prompt_id, say an asset_id"))
        elif beginning[word]:
            found.append(_only(word, beginning[word], "asset_ids begin so, say more digits"))
        else:
            raise UserError(
                f"--asset {word!r}: no asset in {store.url} has this asset_id or prompt_id, and no "
                "asset_id begins so; `catalog/` lists those that there are"
            )
    return list(dict.fromkeys(found))


def _beginning(store: Store, word: str) -> list[str]:
    """The asset_ids that begin so, sorted."""
    if not _DIGITS.fullmatch(word):
        return []
    shards = [name for name in SHARDS if name[1:].startswith(word[:2])]
    ids = (store.assets.shard(name).asset_ids() for name in shards)
    return sorted(x for some in ids for x in some if x.startswith(word))


def _named(store: Store, words: Set[str]) -> dict[str, list[str]]:
    """The asset_ids by prompt_id, of those words that are one."""
    ids: dict[str, list[str]] = {}
    for rows in catalog.rows(store, with_scores=False) if words else ():
        names = zip(*(rows[x].to_pylist() for x in ("prompt_id", "asset_id")), strict=True)
        for prompt_id, asset_id in names:
            if prompt_id in words:
                ids.setdefault(prompt_id, []).append(asset_id)
    return ids


def _only(word: str, asset_ids: Sequence[str], mistake: str) -> str:
    if len(asset_ids) == 1:
        return asset_ids[0]
    shown = ", ".join(asset_ids[:_SHOWN]) + (", ..." if len(asset_ids) > _SHOWN else "")
    raise UserError(f"--asset {word!r}: {len(asset_ids)} {mistake}: {shown}")
