//! Compares our definitions with the facts derived from containerd's descriptors
//! (`facts/containerd.tsv`, made by `facts/derive.py`), both ways: nothing missing, nothing else.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    ServiceDescriptorProto,
};

const TABLE: &str = include_str!("../facts/containerd.tsv");

type Facts = BTreeSet<String>;

fn expected() -> Facts {
    TABLE.lines().map(str::to_owned).collect()
}

fn ours() -> FileDescriptorSet {
    FileDescriptorSet::decode(berth_proto::FILE_DESCRIPTOR_SET).expect("the build encoded it")
}

/// gRPC's own interface, which containerd does not define.
const HEALTH: &str = "grpc.health.v1";

fn facts_of(set: &FileDescriptorSet) -> Facts {
    let others = ["google.protobuf", HEALTH];
    facts_in(set, |package| !others.contains(&package) && !package.starts_with("berth."))
}

fn facts_in(set: &FileDescriptorSet, is_in: impl Fn(&str) -> bool) -> Facts {
    let mut facts = Facts::new();
    for file in set.file.iter().filter(|file| is_in(file.package())) {
        let package = file.package();
        file.message_type.iter().for_each(|m| message(&mut facts, package, m));
        file.enum_type.iter().for_each(|e| enumeration(&mut facts, package, e));
        file.service.iter().for_each(|s| service(&mut facts, package, s));
    }
    facts
}

fn message(facts: &mut Facts, scope: &str, message_: &DescriptorProto) {
    let name = format!("{scope}.{}", message_.name());
    let map = message_.options.as_ref().is_some_and(|o| o.map_entry());
    facts.insert(format!("message\t{name}\t{}", if map { "map" } else { "plain" }));
    for field_ in &message_.field {
        facts.insert(field(&name, message_, field_));
    }
    message_.nested_type.iter().for_each(|m| message(facts, &name, m));
    message_.enum_type.iter().for_each(|e| enumeration(facts, &name, e));
}

fn field(owner: &str, message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let optional = field.proto3_optional();
    let label = match field.label() {
        _ if optional => "optional",
        Label::Repeated => "repeated",
        Label::Optional => "single",
        Label::Required => "required",
    };
    let oneof = match field.oneof_index {
        Some(i) if !optional => message.oneof_decl[i as usize].name(),
        _ => "-",
    };
    let type_ = match field.r#type() {
        Type::Message | Type::Enum | Type::Group => {
            field.type_name().trim_start_matches('.').to_owned()
        }
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    };
    format!("field\t{owner}\t{}\t{}\t{type_}\t{label}\t{oneof}", field.name(), field.number())
}

fn enumeration(facts: &mut Facts, scope: &str, enum_: &EnumDescriptorProto) {
    let name = format!("{scope}.{}", enum_.name());
    facts.insert(format!("enum\t{name}"));
    for value in &enum_.value {
        facts.insert(format!("value\t{name}\t{}\t{}", value.name(), value.number()));
    }
}

fn service(facts: &mut Facts, scope: &str, service: &ServiceDescriptorProto) {
    let name = format!("{scope}.{}", service.name());
    for method in &service.method {
        let mode = match (method.client_streaming(), method.server_streaming()) {
            (false, false) => "unary",
            (false, true) => "server",
            (true, false) => "client",
            (true, true) => "bidi",
        };
        let [input, output] =
            [method.input_type(), method.output_type()].map(|t| t.trim_start_matches('.'));
        facts.insert(format!("method\t{name}\t{}\t{mode}\t{input}\t{output}", method.name()));
    }
}

fn differences(expected: &Facts, found: &Facts) -> Vec<String> {
    let missing = expected.difference(found).map(|f| format!("missing: {f}"));
    let added = found.difference(expected).map(|f| format!("not in the table: {f}"));
    missing.chain(added).collect()
}

#[test]
fn our_definitions_state_exactly_the_facts_of_the_table() {
    assert_eq!(differences(&expected(), &facts_of(&ours())), Vec::<String>::new());
}

/// tonic has an older one, without List.
#[test]
fn our_definition_of_health_has_all_that_others_have() {
    let theirs = FileDescriptorSet::decode(tonic_health::pb::FILE_DESCRIPTOR_SET).expect("a set");
    let [theirs, ours] = [theirs, ours()].map(|set| facts_in(&set, |package| package == HEALTH));
    assert!(theirs.len() > 8, "{theirs:?}");
    assert_eq!(theirs.difference(&ours).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn the_table_has_the_size_that_was_derived() {
    let expected = expected();
    assert_eq!(expected.len(), TABLE.lines().count(), "a row is repeated");
    let count = |kind: &str| expected.iter().filter(|f| f.starts_with(kind)).count();
    assert_eq!(count("method\t"), 132);
    assert_eq!(count("message\t"), 367);
    assert_eq!(count("field\t"), 1014);
    assert_eq!(count("enum\t"), 7);
    assert_eq!(count("value\t"), 29);
    let services: BTreeSet<_> = expected
        .iter()
        .filter(|f| f.starts_with("method\t"))
        .map(|f| f.split('\t').nth(1))
        .collect();
    assert_eq!(services.len(), 20);
}

/// Each single change to our definitions is seen: otherwise the comparison above proves nothing.
#[test]
fn every_altered_fact_is_noticed() {
    let expected = expected();
    type Change = (&'static str, fn(&mut FileDescriptorSet));
    let changes: [Change; 9] = [
        ("method removed", |s| drop(content(s).service[0].method.pop())),
        ("method renamed", |s| content(s).service[0].method[0].name = Some("Abolish".into())),
        ("streaming removed", |s| method(s, "Write").client_streaming = Some(false)),
        ("output changed", |s| {
            method(s, "Info").output_type = Some(".google.protobuf.Empty".into());
        }),
        ("message removed", |s| drop(content(s).message_type.pop())),
        ("field renumbered", |s| content(s).message_type[0].field[0].number = Some(99)),
        ("field retyped", |s| content(s).message_type[0].field[0].set_type(Type::Bytes)),
        ("label changed", |s| content(s).message_type[0].field[0].set_label(Label::Repeated)),
        ("enum value moved", |s| content(s).enum_type[0].value[1].number = Some(7)),
    ];
    for (what, change) in changes {
        let mut mutated = ours();
        change(&mut mutated);
        assert!(!differences(&expected, &facts_of(&mutated)).is_empty(), "{what}: not noticed");
    }
}

#[test]
fn a_changed_row_of_the_table_is_noticed() {
    let found = facts_of(&ours());
    for row in expected() {
        let mut mutated = expected();
        mutated.remove(&row);
        assert_eq!(differences(&mutated, &found), [format!("not in the table: {row}")]);
    }
}

fn content(set: &mut FileDescriptorSet) -> &mut prost_types::FileDescriptorProto {
    set.file
        .iter_mut()
        .find(|f| f.package() == "containerd.services.content.v1")
        .expect("content is one of the interfaces")
}

fn method<'a>(
    set: &'a mut FileDescriptorSet,
    name: &str,
) -> &'a mut prost_types::MethodDescriptorProto {
    let methods = &mut content(set).service[0].method;
    methods.iter_mut().find(|m| m.name() == name).expect("a method of content")
}
