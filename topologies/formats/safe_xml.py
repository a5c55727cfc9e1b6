"""Harmless XML only: entities, which can exhaust memory or read files, are refused."""

from __future__ import annotations

from typing import Any


def parse(text: str) -> Any:
    """The root element. Raises ValueError."""
    import xml.etree.ElementTree as ElementTree

    import defusedxml
    import defusedxml.ElementTree

    try:
        return defusedxml.ElementTree.fromstring(text.encode())
    except defusedxml.EntitiesForbidden as error:
        raise ValueError(
            f"the XML defines an entity ({error.name}); entities are refused; write their text instead"
        ) from None
    except defusedxml.DefusedXmlException as error:
        raise ValueError(f"the XML is refused: {type(error).__name__}") from None
    except ElementTree.ParseError as error:
        raise ValueError(f"not valid XML: {error}") from None
