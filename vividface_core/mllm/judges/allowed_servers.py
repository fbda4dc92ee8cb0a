"""Which servers a workflow may ask: a workflow may come from anyone, so the machine's owner names them.

A server of this machine itself may always be asked, but keys go only to servers that are named: in
``VIVIDFACE_MLLM_SERVERS`` (base URLs with commas), or by a table of their own in the settings file.
"""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from vividface_core.errors import InvalidOption
from vividface_core.mllm.judges.http import LOOPBACK, checked_address
from vividface_core.mllm.judges.server_settings import settings_file, tables_of_servers

SERVERS = "VIVIDFACE_MLLM_SERVERS"


def named_servers() -> list[str]:
    """Base URLs, those of the environment first.

    Raises:
        InvalidOption: the settings file can't be read.
        MissingDependency: it needs a TOML reader that isn't there (Python 3.10).
    """
    told = [piece for piece in re.split(r"[,\s]+", os.environ.get(SERVERS, "")) if piece]
    return list(dict.fromkeys(checked_address(address) for address in (*told, *tables_of_servers())))


def allowed_server(address: str) -> tuple[str, bool]:
    """The address that is asked for one that a workflow tells, and whether it is named.

    Args:
        address: base URL; "": the first that is named.

    Raises:
        InvalidOption: no such address, or one that is neither named nor this machine's.
    """
    names = named_servers()
    if not address.strip():
        if not names:
            raise InvalidOption(
                "No server is named: write its base URL here if it runs on this machine, else put it into "
                f"{SERVERS} or the settings file {settings_file()}."
            )
        return names[0], True
    address = checked_address(address.strip())
    named = next((name for name in names if name.lower() == address.lower()), None)
    if named is None and urlsplit(address).hostname not in LOOPBACK:
        raise InvalidOption(
            f"A workflow may not ask {address}: only servers of this machine and those that its owner has named. "
            f"To name it, put it into {SERVERS} or the settings file {settings_file()}."
        )
    return named or address, named is not None
