"""Keep Streamlit from asking anybody on the internet for this machine's address."""

from __future__ import annotations


def ask_nobody() -> None:
    """Answer for the function of Streamlit that asks a server on the internet.

    It does so at the start on all addresses of the network, unless `browser.serverAddress` is set
    (which .streamlit/config.toml does), and whenever a page of another site tries a socket.
    """
    from streamlit import net_util

    vars(net_util)["get_external_ip"] = _no_address


def _no_address() -> None:
    return None
