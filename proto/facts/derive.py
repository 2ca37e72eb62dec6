#!/usr/bin/env python3
"""Derives the wire facts of containerd's interfaces and Kubernetes' CRI from descriptor sets in protobuf text form.

usage: derive.py DESCRIPTORS.txtpb [MORE.txtpb ...] > TABLE.tsv

Only what decides bytes on the wire is kept: names, numbers, types, labels, oneofs, streaming.
Text of others (comments, options, layout in files) is not. Packages google.protobuf and buf.* are
left out: they come with the toolchain. Input for containerd.tsv: api/next.txtpb of containerd, and
cgroup1/stats/metrics.proto and cgroup2/stats/metrics.proto of containerd/cgroups; for cri.tsv:
pkg/apis/runtime/v1/api.proto of kubernetes/cri-api, between v0.37.0-beta.0 and v0.37.0 (commit
791729b255f0), without the option debug_redact, which older protocs do not know. A .proto file F goes
through `protoc --descriptor_set_out=/dev/stdout F | protoc --decode=google.protobuf.FileDescriptorSet \
google/protobuf/descriptor.proto`.

Rows (tab separated):
  method   service  name  unary|server|client|bidi  input  output
  message  message  plain|map
  field    message  name  number  type  label  oneof-or-dash
  enum     enum
  value    enum     name  number
"""

import re
import sys

TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[{}:]|\[[^\]]*\]|[^\s{}:\[\]]+')
SKIPPED = ("google.protobuf", "buf.")


def parse(tokens):
    """Reads one message body of text format into {name: [values]}, up to its closing brace."""
    node = {}
    for token in tokens:
        if token == "}":
            return node
        value = next(tokens)
        if value == ":":
            value = next(tokens)
        if value == "{":
            value = parse(tokens)
        elif value.startswith('"'):
            value = value[1:-1]
        node.setdefault(token, []).append(value)
    return node


def one(node, name, default=""):
    return node.get(name, [default])[0]


def type_of(field):
    named = one(field, "type_name")
    return named.lstrip(".") if named else one(field, "type")[len("TYPE_"):].lower()


def label_of(field):
    if one(field, "proto3_optional") == "true":
        return "optional"
    return {"LABEL_REPEATED": "repeated", "LABEL_OPTIONAL": "single"}[one(field, "label")]


def message_rows(message, scope):
    name = f"{scope}.{one(message, 'name')}"
    is_map = one(one(message, "options", {}), "map_entry") == "true"
    yield ("message", name, "map" if is_map else "plain")
    oneofs = [one(o, "name") for o in message.get("oneof_decl", [])]
    for field in message.get("field", []):
        label = label_of(field)
        real = "oneof_index" in field and label != "optional"
        oneof = oneofs[int(one(field, "oneof_index"))] if real else "-"
        yield ("field", name, one(field, "name"), one(field, "number"), type_of(field), label, oneof)
    for nested in message.get("nested_type", []):
        yield from message_rows(nested, name)
    for nested in message.get("enum_type", []):
        yield from enum_rows(nested, name)


def enum_rows(enum, scope):
    name = f"{scope}.{one(enum, 'name')}"
    yield ("enum", name)
    for value in enum.get("value", []):
        yield ("value", name, one(value, "name"), one(value, "number"))


def service_rows(service, scope):
    name = f"{scope}.{one(service, 'name')}"
    modes = {("", ""): "unary", ("", "true"): "server", ("true", ""): "client", ("true", "true"): "bidi"}
    for method in service.get("method", []):
        mode = modes[(one(method, "client_streaming"), one(method, "server_streaming"))]
        ends = [one(method, side).lstrip(".") for side in ("input_type", "output_type")]
        yield ("method", name, one(method, "name"), mode, *ends)


def main():
    rows = set()
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as text:
            root = parse(iter(TOKEN.findall(text.read())))
        for file in root["file"]:
            package = one(file, "package")
            if package.startswith(SKIPPED):
                continue
            for message in file.get("message_type", []):
                rows.update(message_rows(message, package))
            for enum in file.get("enum_type", []):
                rows.update(enum_rows(enum, package))
            for service in file.get("service", []):
                rows.update(service_rows(service, package))
    # By owner, then number: the order in which a reader compares it with a definition.
    rows = sorted(rows, key=lambda r: (r[0], r[1], int(r[3]) if r[0] in ("field", "value") else 0, r))
    for row in rows:
        print("\t".join(row))


if __name__ == "__main__":
    main()
