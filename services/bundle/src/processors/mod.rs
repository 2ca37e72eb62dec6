//! Stream processors: programs of the configuration that make a layer of what is none, as it is
//! read.
//!
//! Owns: which programs a media type goes through, running them. Must not know: where the bytes
//! come from, what a layer is applied to.
//!
//! Invariant: what programs have made of a layer counts only if each of them ended well.

mod run;

pub use run::through;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use berth_config::StreamProcessor;

use crate::Error;
use crate::layer::{TAR, is_layer};

/// What clients give programs, by their IDs: serialised, as the programs get it.
pub type Payloads = BTreeMap<String, Vec<u8>>;

/// Programs in a row. More can only be a circle.
const MOST: usize = 16;

/// One program.
#[derive(Clone, Debug)]
struct Processor {
    id: String,
    accepts: Vec<String>,
    returns: String,
    path: OsString,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

/// All programs of the configuration, in the order of their IDs.
#[derive(Clone, Debug, Default)]
pub struct Processors(Arc<[Processor]>);

/// A program that a layer goes through, with the media type that it is given.
#[derive(Clone, Debug)]
struct Step {
    processor: Processor,
    accepted: String,
}

/// What a layer goes through until it can be extracted.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    layer: String,
    steps: Vec<Step>,
}

impl Processors {
    /// Those of a configuration.
    #[must_use]
    pub fn new(configured: &BTreeMap<String, StreamProcessor>) -> Self {
        let pair = |pair: &String| {
            pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        let processor = |(id, configured): (&String, &StreamProcessor)| Processor {
            id: id.clone(),
            accepts: configured.accepts.clone(),
            returns: configured.returns.clone(),
            path: configured.path.clone().into_os_string(),
            args: configured.args.clone(),
            env: configured.env.iter().filter_map(pair).collect(),
        };
        Self(configured.iter().map(processor).collect())
    }

    /// What makes a layer of `media_type` one that can be extracted; nothing if it is one. A
    /// program that accepts what could be extracted as it is comes first, as with containerd.
    ///
    /// # Errors
    /// [`Error::MediaType`] if nothing does, [`Error::State`] if the programs lead to nothing.
    pub fn chain(&self, layer: &str, media_type: &str) -> Result<Chain, Error> {
        let mut steps = Vec::new();
        let mut at = media_type;
        while let Some(processor) = self.0.iter().find(|p| p.accepts.iter().any(|a| a == at)) {
            if steps.len() == MOST {
                let (what, name) = ("stream processors of", media_type.to_owned());
                let reason = "more than 16 follow each other, see [stream_processors]";
                return Err(Error::State { what, name, reason });
            }
            steps.push(Step { processor: processor.clone(), accepted: at.to_owned() });
            at = &processor.returns;
            if at == TAR {
                break;
            }
        }
        if !is_layer(at) {
            let (layer, media_type) = (layer.to_owned(), media_type.to_owned());
            return Err(Error::MediaType { layer, media_type });
        }
        Ok(Chain { layer: layer.to_owned(), steps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processors(all: &[(&str, &str, &str)]) -> Processors {
        let one = |(id, accepts, returns): &(&str, &str, &str)| {
            let configured = StreamProcessor {
                accepts: vec![(*accepts).to_owned()],
                returns: (*returns).to_owned(),
                path: "cat".into(),
                args: Vec::new(),
                env: Vec::new(),
            };
            ((*id).to_owned(), configured)
        };
        Processors::new(&all.iter().map(one).collect())
    }

    #[test]
    fn programs_follow_each_other_until_it_is_a_layer() {
        let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
        let all = processors(&[("a", "x/one", "x/two"), ("b", "x/two", gzip), ("c", gzip, TAR)]);
        let ids = |media_type: &str| -> Result<Vec<String>, Error> {
            let steps = all.chain("l", media_type)?.steps;
            Ok(steps.into_iter().map(|step| step.processor.id).collect())
        };
        assert_eq!(ids("x/one").unwrap(), ["a", "b", "c"]);
        assert_eq!(ids(gzip).unwrap(), ["c"]);
        assert!(ids(TAR).unwrap().is_empty());
        let none = ids("x/three").unwrap_err().to_string();
        let expected = "failed to get stream processor for x/three: no processor for media-type";
        assert!(none.ends_with(expected), "{none}");
        let circle = processors(&[("a", "x/one", "x/two"), ("b", "x/two", "x/one")]);
        assert!(matches!(circle.chain("l", "x/one"), Err(Error::State { .. })));
    }
}
