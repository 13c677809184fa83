"""The schemas of Kubernetes that ops-tools.sh fetched: strict ones, which refuse fields that are not known."""

import functools
import importlib.util
import json
import pathlib
import re
import urllib.parse

import jsonschema

# The oldest that the chart is for, and the newest that there is a schema for.
VERSIONS = ("1.27.0", "1.37.0")

# Found, and not imported: only the package's data is of use here.
_FOLDER = pathlib.Path(importlib.util.find_spec("kubernetes_validate").origin).parent / "kubernetes-json-schema"


@functools.cache
def _validator(version, kind, api_version):
    folder = _FOLDER / f"v{version}-local-strict"
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    schema = json.loads((folder / f"{kind.lower()}-{group}.json").read_text())
    # They name each other by an address in the web, where nothing is looked for.
    base = schema.get("$id", folder.as_uri() + "/")
    store = {urllib.parse.urljoin(base, "_definitions.json"): _definitions(version)}
    return jsonschema.Draft7Validator(schema, resolver=jsonschema.RefResolver(base, schema, store=store))


@functools.cache
def _definitions(version):
    return json.loads((_FOLDER / f"v{version}-local-strict/_definitions.json").read_text())


def validate(document, version):
    """Raises jsonschema.ValidationError for a document that this version of Kubernetes would not take."""
    _validator(version, document["kind"], document["apiVersion"]).validate(document)
