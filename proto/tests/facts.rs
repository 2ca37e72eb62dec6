//! Compares our definitions with the facts derived from those of containerd and of Kubernetes' CRI
//! (`facts/*.tsv`, made by `facts/derive.py`), both ways: nothing missing, nothing else.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, ServiceDescriptorProto,
};

/// The facts about some packages.
struct Table {
    rows: &'static str,
    is_in: fn(&str) -> bool,
}

const CONTAINERD: Table =
    Table { rows: include_str!("../facts/containerd.tsv"), is_in: of_containerd };
const CRI: Table = Table { rows: include_str!("../facts/cri.tsv"), is_in: of_kubernetes };

/// gRPC's own interface, which containerd does not define.
const HEALTH: &str = "grpc.health.v1";

fn of_containerd(package: &str) -> bool {
    let others = ["google.protobuf", HEALTH];
    !others.contains(&package) && !package.starts_with("berth.") && !of_kubernetes(package)
}

fn of_kubernetes(package: &str) -> bool {
    package == "runtime.v1"
}

type Facts = BTreeSet<String>;

/// What it is called, and how it is made.
type Change = (&'static str, fn(&mut FileDescriptorSet));

impl Table {
    fn expected(&self) -> Facts {
        self.rows.lines().map(str::to_owned).collect()
    }

    fn found(&self, set: &FileDescriptorSet) -> Facts {
        facts_in(set, self.is_in)
    }

    /// How many rows of a kind there are; none twice.
    fn sizes(&self) -> [usize; 5] {
        let expected = self.expected();
        assert_eq!(expected.len(), self.rows.lines().count(), "a row is repeated");
        ["method\t", "message\t", "field\t", "enum\t", "value\t"]
            .map(|kind| expected.iter().filter(|fact| fact.starts_with(kind)).count())
    }

    fn services(&self) -> usize {
        let methods = self.rows.lines().filter(|fact| fact.starts_with("method\t"));
        methods.map(|fact| fact.split('\t').nth(1)).collect::<BTreeSet<_>>().len()
    }

    /// Each single change to our definitions is seen: otherwise a comparison proves nothing.
    fn notices(&self, changes: &[Change]) {
        let expected = self.expected();
        for (what, change) in changes {
            let mut mutated = ours();
            change(&mut mutated);
            assert!(
                !differences(&expected, &self.found(&mutated)).is_empty(),
                "{what}: not noticed"
            );
        }
    }
}

fn ours() -> FileDescriptorSet {
    FileDescriptorSet::decode(berth_proto::FILE_DESCRIPTOR_SET).expect("the build encoded it")
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
fn our_definitions_state_exactly_the_facts_of_the_tables() {
    for table in [CONTAINERD, CRI] {
        assert_eq!(differences(&table.expected(), &table.found(&ours())), Vec::<String>::new());
    }
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
fn the_tables_have_the_sizes_that_were_derived() {
    assert_eq!(CONTAINERD.sizes(), [132, 367, 1014, 7, 29]);
    assert_eq!(CONTAINERD.services(), 20);
    assert_eq!(CRI.sizes(), [43, 205, 538, 11, 95]);
    assert_eq!(CRI.services(), 2);
}

#[test]
fn every_altered_fact_is_noticed() {
    CONTAINERD.notices(&[
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
    ]);
}

/// In whichever of its files it is, and within messages.
#[test]
fn every_altered_fact_of_the_cri_is_noticed() {
    CRI.notices(&[
        ("file removed", |s| s.file.retain(|f| f.name() != "runtime/v1/windows_usage.proto")),
        ("service renamed", |s| cri(s, "image_service").service[0].name = Some("Images".into())),
        ("streaming added", |s| {
            cri(s, "image_service").service[0].method[0].server_streaming = Some(true);
        }),
        ("value renamed", |s| cri(s, "signals").enum_type[0].value[1].name = Some("ABRT".into())),
        ("nested value renumbered", |s| {
            named(cri(s, "security"), "SecurityProfile").enum_type[0].value[1].number = Some(3);
        }),
        ("values of a map retyped", |s| {
            let map = &mut named(cri(s, "resources"), "LinuxContainerResources").nested_type[0];
            map.field[1].set_type(Type::Bytes);
        }),
    ]);
}

#[test]
fn a_changed_row_of_a_table_is_noticed() {
    for table in [CONTAINERD, CRI] {
        let found = table.found(&ours());
        for row in table.expected() {
            let mut mutated = table.expected();
            mutated.remove(&row);
            assert_eq!(differences(&mutated, &found), [format!("not in the table: {row}")]);
        }
    }
}

fn content(set: &mut FileDescriptorSet) -> &mut FileDescriptorProto {
    set.file
        .iter_mut()
        .find(|f| f.package() == "containerd.services.content.v1")
        .expect("content is one of the interfaces")
}

fn cri<'a>(set: &'a mut FileDescriptorSet, file: &str) -> &'a mut FileDescriptorProto {
    let name = format!("runtime/v1/{file}.proto");
    set.file.iter_mut().find(|f| f.name() == name).expect("a file of the CRI")
}

fn named<'a>(file: &'a mut FileDescriptorProto, message: &str) -> &'a mut DescriptorProto {
    file.message_type.iter_mut().find(|m| m.name() == message).expect("a message of the file")
}

fn method<'a>(
    set: &'a mut FileDescriptorSet,
    name: &str,
) -> &'a mut prost_types::MethodDescriptorProto {
    let methods = &mut content(set).service[0].method;
    methods.iter_mut().find(|m| m.name() == name).expect("a method of content")
}
