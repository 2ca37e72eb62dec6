//! Exits: whose a reaped process was, and when its end may be told.

use std::sync::Arc;

use berth_proto::containerd::events::TaskExit;

use super::container::Inner;
use super::process::Process;
use super::{Container, Shim};
use crate::children::Exit;
use crate::clock::timestamp;
use crate::log;

impl Shim {
    /// A process was reaped that was not started by the shim itself.
    pub(crate) fn exited(self: &Arc<Self>, pid: i32, exit: Exit) {
        for container in self.held() {
            let exec = {
                let inner = container.inner();
                let is = |process: &Process| process.alive() && process.pid == pid;
                if is(&inner.init) && inner.init_exit.is_none() {
                    Some(String::new())
                } else {
                    inner.execs.values().find(|process| is(process)).map(|exec| exec.id.clone())
                }
            };
            if let Some(exec) = exec {
                return self.ended(&container, &exec, exit);
            }
        }
        self.children.stray(pid, exit);
    }

    /// A process of a container has ended.
    pub(crate) fn ended(self: &Arc<Self>, container: &Arc<Container>, exec: &str, exit: Exit) {
        let mut inner = container.inner();
        let Ok(process) = inner.process(exec) else { return };
        if process.starting {
            process.held = Some(exit);
            return;
        }
        if exec.is_empty() {
            inner.init_exit = Some(exit);
            if container.kill_all {
                inner.killing = true;
                self.kill_others(container.clone());
            }
        } else {
            self.tell(container, process, exit);
        }
        drop(inner);
        self.finish_init(container);
    }

    /// Ends what shares no process namespace with the first process of its container.
    fn kill_others(self: &Arc<Self>, container: Arc<Container>) {
        let shim = self.clone();
        self.tasks.spawn(async move {
            let args = ["kill", "--all", &container.id, "KILL"];
            let what = "OCI runtime killall failed";
            if let Err(error) = container.runc.run(what, &args, &[]).await {
                log::warn(format_args!("container {}: {error}", container.id));
            }
            container.inner().killing = false;
            shim.finish_init(&container);
        });
    }

    /// Tells of the first process's end when those of the others have been told.
    pub(super) fn finish_init(&self, container: &Container) {
        let mut inner = container.inner();
        if inner.killing || inner.others() {
            return;
        }
        let Inner { init, init_exit, paused, .. } = &mut *inner;
        if let Some(exit) = init_exit.take() {
            *paused = false;
            self.tell(container, init, exit);
        }
    }

    fn tell(&self, container: &Container, process: &mut Process, exit: Exit) {
        if let Some(streams) = &process.streams {
            streams.catch_up();
        }
        // That it was killed for memory is told before, if the watch has not come to it yet.
        if let Some(memory) = container.memory.get() {
            memory.look(|| self.tell_oom(&container.id));
        }
        self.publisher.publish(&TaskExit {
            container_id: container.id.clone(),
            id: process.id.clone(),
            pid: process.pid.unsigned_abs(),
            exit_status: exit.status,
            exited_at: Some(timestamp(exit.at)),
        });
        process.finish(exit);
    }
}
