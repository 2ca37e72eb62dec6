//! Which records are one image, and which one is meant by a name.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_ids::Digest;

use super::known::Facts;
use super::reference::Reference;
use crate::peers::images::Record;
use crate::{Error, Result, ids};

/// An image: all records whose config is the same.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What is known of it.
    pub facts: Arc<Facts>,
    /// Its names, in order.
    pub records: Vec<Record>,
}

/// The images of the node, by their ids.
#[derive(Debug, Default)]
pub struct Index(BTreeMap<String, Entry>);

impl Index {
    /// Takes a name in.
    pub fn add(&mut self, record: Record, facts: Arc<Facts>) {
        let new = || Entry { facts: Arc::clone(&facts), records: Vec::new() };
        let records = &mut self.0.entry(facts.id.clone()).or_insert_with(new).records;
        let at = records.partition_point(|other| other.name < record.name);
        records.insert(at, record);
    }

    /// All images, in the order of their ids.
    pub fn all(self) -> impl Iterator<Item = Entry> {
        self.0.into_values()
    }

    /// The one that is meant, as containerd finds it: by its id, by a name of docker's, by a part of its id.
    ///
    /// # Errors
    /// [`Error::Ambiguous`]; [`Error::Refused`] for an empty name.
    pub fn find(&self, text: &str) -> Result<Option<&Entry>> {
        if text.parse::<Digest>().is_ok() {
            return Ok(self.0.get(text));
        }
        if let Ok(reference) = Reference::parse(text)
            && let Some(entry) = self.named(&reference.exact().to_string())
        {
            return Ok(Some(entry));
        }
        let part = match text.strip_prefix("sha256:").unwrap_or(text) {
            // It is a part of all of them, and means none.
            "" => String::new(),
            digits => format!("sha256:{digits}"),
        };
        match ids::find(self.0.keys(), &part) {
            Ok(id) => Ok(self.0.get(id)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(Error::Ambiguous(_)) => Err(Error::Ambiguous(text.to_owned())),
            Err(error) => Err(error),
        }
    }

    fn named(&self, name: &str) -> Option<&Entry> {
        let is = |record: &Record| {
            record.name == name
                || Reference::parse(&record.name).is_ok_and(|other| other.to_string() == name)
        };
        self.0.values().find(|entry| entry.records.iter().any(is))
    }
}

/// Names with tags, and those with digests, each in order and as docker writes them.
#[must_use]
pub fn names(records: &[Record]) -> (Vec<String>, Vec<String>) {
    let (mut tags, mut digests) = (Vec::new(), Vec::new());
    for record in records {
        // An id is no name.
        if record.name.parse::<Digest>().is_ok() {
            continue;
        }
        match Reference::parse(&record.name) {
            Ok(name) if name.digest.is_some() => digests.push(name.to_string()),
            Ok(name) if name.tag.is_some() => tags.push(name.to_string()),
            _ => {}
        }
    }
    for names in [&mut tags, &mut digests] {
        names.sort();
        names.dedup();
    }
    (tags, digests)
}

impl Entry {
    /// The record that says most of what somebody meant by `text`: the one of that name, or else one with a tag, or
    /// else any.
    #[must_use]
    pub fn record(&self, text: &str) -> Option<&Record> {
        let name = Reference::parse(text).map(|name| name.exact().to_string()).unwrap_or_default();
        let named = self.records.iter().find(|record| record.name == name);
        let tagged = || {
            let is_tagged = |record: &&Record| {
                record.name.parse::<Digest>().is_err()
                    && Reference::parse(&record.name).is_ok_and(|name| name.tag.is_some())
            };
            self.records.iter().find(is_tagged)
        };
        named.or_else(tagged).or(self.records.first())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(of: u8) -> String {
        format!("sha256:{}", format!("{of:02x}").repeat(32))
    }

    fn index(records: &[(&str, u8)]) -> Index {
        let mut index = Index::default();
        for (name, of) in records {
            let facts = Facts { id: id(*of), size: 1, chain: String::new(), user: None };
            let record = Record { name: (*name).to_owned(), ..Record::default() };
            index.add(record, Arc::new(facts));
        }
        index
    }

    fn found(index: &Index, text: &str) -> Option<String> {
        index.find(text).unwrap().map(|entry| entry.facts.id.clone())
    }

    #[test]
    fn an_image_is_found_by_id_name_and_part() {
        let by_digest = format!("docker.io/library/a@{}", id(0xcc));
        let records = [
            ("docker.io/library/a:latest", 0xaa),
            (&by_digest, 0xaa),
            ("docker.io/library/aa:latest", 0xab),
            ("short:1", 0xab),
        ];
        let index = index(&records);
        assert_eq!(found(&index, "a"), Some(id(0xaa)));
        assert_eq!(found(&index, &format!("a:9@{}", id(0xcc))), Some(id(0xaa)), "its tag is left");
        assert_eq!(found(&index, "docker.io/library/aa"), Some(id(0xab)));
        assert_eq!(found(&index, "short:1"), Some(id(0xab)), "whoever named it wrote it short");
        assert_eq!(found(&index, &id(0xab)), Some(id(0xab)));
        assert_eq!(found(&index, "aaaa"), Some(id(0xaa)));
        assert_eq!(found(&index, "sha256:abab"), Some(id(0xab)));
        assert_eq!(found(&index, &id(0xab)[7..]), Some(id(0xab)));
        assert_eq!(found(&index, &id(0xdd)), None);
        assert_eq!(found(&index, "a:2"), None);
        assert_eq!(found(&index, "Not a name"), None);
        assert!(matches!(index.find("sha256:a"), Err(Error::Ambiguous(_))));
        for empty in ["", "sha256:"] {
            assert!(matches!(index.find(empty), Err(Error::Refused(_))));
        }
    }

    #[test]
    fn names_are_in_order_and_of_their_kinds() {
        let (id, digest) = (id(1), format!("h.x/b@{}", id(9)));
        let records =
            ["h.x/b:2", "h.x/b:1", &id, &digest, "short:1", "what is this"].map(|name| (name, 1));
        let entry = index(&records).all().next().unwrap();
        let (tags, digests) = names(&entry.records);
        assert_eq!(tags, ["docker.io/library/short:1", "h.x/b:1", "h.x/b:2"]);
        assert_eq!(digests, std::slice::from_ref(&digest));
        let meant = |text: &str| entry.record(text).unwrap().name.clone();
        assert_eq!(meant("h.x/b:2"), "h.x/b:2");
        assert_eq!(meant(&format!("h.x/b:7@{}", super::tests::id(9))), digest);
        assert_eq!(meant(&id), "h.x/b:1");
    }
}
