"""The guided tour: a bar over the real pages, whose state is in their address."""
