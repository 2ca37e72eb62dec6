//! A spec taken apart, while it is made.

use std::collections::HashMap;
use std::path::Path;

use berth_runtime_spec::{Mount, Process, Spec, base};
use oci_spec::runtime::{Linux, LinuxCpu, LinuxMemory, LinuxResources, Root};

/// The parts that a request changes; the rest stays in `rest`.
pub(crate) struct Draft {
    pub process: Process,
    pub linux: Linux,
    pub root: Root,
    pub mounts: Vec<Mount>,
    pub annotations: HashMap<String, String>,
    rest: Spec,
}

impl Draft {
    /// Begins with `spec`, or with the default one, in this control group.
    pub fn begin(spec: Option<&Spec>, cgroups_path: &Path) -> Self {
        let default = base(cgroups_path);
        let rest = spec.unwrap_or(&default).clone();
        let mut draft = Self {
            process: first(rest.process(), default.process()),
            linux: first(rest.linux(), default.linux()),
            root: first(rest.root(), default.root()),
            mounts: rest.mounts().clone().unwrap_or_default(),
            annotations: rest.annotations().clone().unwrap_or_default(),
            rest,
        };
        draft.linux.set_cgroups_path(Some(cgroups_path.to_owned()));
        draft.without_mount(Path::new("/run"));
        draft
    }

    /// Puts it together.
    pub fn end(self) -> Spec {
        let mut spec = self.rest;
        spec.set_process(Some(self.process))
            .set_linux(Some(self.linux))
            .set_root(Some(self.root))
            .set_mounts(Some(self.mounts))
            .set_annotations(Some(self.annotations));
        spec
    }

    pub fn set_hostname(&mut self, hostname: &str) {
        self.rest.set_hostname((!hostname.is_empty()).then(|| hostname.to_owned()));
    }

    pub fn without_mount(&mut self, destination: &Path) {
        self.mounts.retain(|mount| mount.destination() != destination);
    }

    /// What sysfs and control groups are, but writable.
    pub fn make_writable(&mut self, kinds: &[&str]) {
        for mount in &mut self.mounts {
            let kind = mount.typ().as_deref().unwrap_or_default();
            if !kinds.contains(&kind) {
                continue;
            }
            let options = mount.options().iter().flatten();
            let writable =
                |option: &String| if option == "ro" { "rw".to_owned() } else { option.clone() };
            let options = options.map(writable).collect();
            mount.set_options(Some(options));
        }
    }

    pub fn resources(&mut self) -> &mut LinuxResources {
        self.linux.resources_mut().get_or_insert_default()
    }
}

/// The resources of processors and memory, made where there are none.
pub(crate) fn cpu(resources: &mut LinuxResources) -> &mut LinuxCpu {
    resources.cpu_mut().get_or_insert_default()
}

pub(crate) fn memory(resources: &mut LinuxResources) -> &mut LinuxMemory {
    resources.memory_mut().get_or_insert_default()
}

/// The one that is there.
fn first<T: Clone + Default>(one: &Option<T>, other: &Option<T>) -> T {
    one.as_ref().or(other.as_ref()).cloned().unwrap_or_default()
}
