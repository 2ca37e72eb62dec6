//! SELinux for pods: whether labels are made, and which level is which pod's.
//!
//! Owns: the levels, each that of one pod from before anything of it is until nothing of it is left. Must not know: where
//! labels are kept, or what they are put into. A pod's label is on record with the pod: a start finds the levels there.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_config::Cri;
use berth_cri_spec as spec;
use berth_proto::runtime::v1::SeLinuxOption;
use berth_runtime_spec::Spec;
use berth_selinux::{Bounds, Label, Labels, Levels, relabel};

use crate::peers::snapshots::RootMount;
use crate::{Error, Result};

/// Labels of the machine, and levels of pods. Clones are the same.
#[derive(Clone, Debug)]
pub struct Selinux(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// What pods begin with, or why there is nothing.
    labels: Result<Labels, String>,
    levels: Mutex<Levels>,
}

impl Selinux {
    /// Looks at the machine whose root folder this is, unless labels are turned off. Blocks.
    #[must_use]
    pub fn look(root: &Path, cri: &Cri) -> Self {
        let labels = match cri.enable_selinux {
            true => berth_selinux::look(root).map_err(|off| off.to_string()),
            false => Err("enable_selinux of [cri] is false".to_owned()),
        };
        match &labels {
            Ok(labels) => tracing::info!(process = %labels.process, "pods get labels of SELinux"),
            Err(why) => tracing::debug!(why, "pods get no labels of SELinux"),
        }
        let levels = Mutex::new(Levels::new(cri.selinux_category_range));
        Self(Arc::new(Shared { labels, levels }))
    }

    /// Chooses the label of a new pod's processes, and its level for as long as it is there: the one that it asks for, or
    /// else one that no other pod has. Empty: it has none.
    ///
    /// # Errors
    /// [`Error::Spec`] for options that cannot be honoured; [`Error::TooMany`] when all levels are taken.
    pub fn begin(&self, id: &str, asked: Option<&SeLinuxOption>) -> Result<String> {
        let asked_level = asked.map(|asked| &*asked.level).unwrap_or_default();
        let base = match &self.0.labels {
            Err(why) => spec::Selinux::Off(why.clone()),
            Ok(labels) => {
                // What is refused takes no level.
                let plain = labels_at(labels, "");
                spec::selinux_labels(&spec::Selinux::On(plain), asked, "")?;
                let level = self.level(id, &labels.process, asked_level)?;
                spec::Selinux::On(labels_at(labels, &level))
            }
        };
        let chosen = spec::selinux_labels(&base, asked, "")?;
        Ok(chosen.map(|chosen| chosen.process).unwrap_or_default())
    }

    fn level(&self, id: &str, of: &Label, asked: &str) -> Result<String> {
        let mut levels = self.levels();
        match asked {
            // The policy has no levels.
            "" if of.level.is_empty() => Ok(String::new()),
            "" => {
                let full = |error| Error::TooMany(format!("choose a level of SELinux: {error}"));
                levels.take(id).map_err(full)
            }
            asked => {
                levels.note(id, asked);
                Ok(asked.to_owned())
            }
        }
    }

    /// Takes over a pod's label of record.
    pub fn keep(&self, id: &str, label: &str) {
        if let Ok(Label { level, .. }) = label.parse() {
            self.levels().note(id, &level);
        }
    }

    /// The pod is gone: another may have its level.
    pub fn release(&self, id: &str) {
        self.levels().release(id);
    }

    /// What specifications of a pod, which has this label, and of its containers begin with.
    #[must_use]
    pub fn base(&self, label: &str) -> spec::Selinux {
        match (&self.0.labels, label.parse::<Label>()) {
            (Err(why), _) => spec::Selinux::Off(why.clone()),
            (Ok(labels), Ok(label)) => spec::Selinux::On(labels_at(labels, &label.level)),
            (Ok(_), Err(_)) => spec::Selinux::Off("the pod was made without a label".to_owned()),
        }
    }

    /// With which options a file system is mounted that all pods may read.
    #[must_use]
    pub fn shared(&self) -> Vec<String> {
        let labels = self.0.labels.as_ref();
        labels.map(|labels| vec![context(&labels.shared.to_string())]).unwrap_or_default()
    }

    /// Gives a folder that all pods run programs of the label for it. Blocks.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn share(&self, folder: &Path) -> Result<()> {
        let Ok(labels) = &self.0.labels else { return Ok(()) };
        let done = relabel(folder, &labels.shared.to_string(), Bounds::default());
        let refused = |error| {
            Error::Refused(format!("label {}: {}", folder.display(), berth_errors::chain(&error)))
        };
        done.map_err(refused)
    }

    fn levels(&self) -> MutexGuard<'_, Levels> {
        // Each change of them is one call.
        self.0.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The mounts of a root file system, with all files having the label that the specification names for them.
#[must_use]
pub fn labelled(mut mounts: Vec<RootMount>, spec: &Spec) -> Vec<RootMount> {
    let label = spec.linux().as_ref().and_then(|linux| linux.mount_label().clone());
    if let Some(label) = label.filter(|label| !label.is_empty()) {
        for mount in &mut mounts {
            mount.options.push(context(&label));
        }
    }
    mounts
}

/// In quotation marks: categories are parted by commas, as options are.
fn context(label: &str) -> String {
    format!("context=\"{label}\"")
}

fn labels_at(labels: &Labels, level: &str) -> spec::SelinuxLabels {
    let at = |label: &Label| match level {
        "" => label.to_string(),
        level => label.at(level).to_string(),
    };
    spec::SelinuxLabels { process: at(&labels.process), mount: at(&labels.files) }
}

#[cfg(test)]
mod tests;
