//! What is left in somebody else's folder of an archive that was being written when the service died.

use anyhow::{Result, ensure};
use berth_testkit::{Signal, run, signal, until};

use super::{COUNT, checkpoint, counts, number_when_it_answers, on_a_saving_node};
use crate::stage::{SOON, shell};

#[test]
fn an_archive_that_is_not_whole_goes_when_the_service_has_died() -> Result<()> {
    on_a_saving_node(|stage, tools| {
        stage.pull()?;
        let (_, pod_config, pod) = stage.pod_with_logs("partial")?;
        let id = stage.started(&pod, &shell("count", &stage.image, COUNT), &pod_config)?;
        counts(stage, &id)?;
        let theirs = tools.join("theirs");
        fs_err::create_dir(&theirs)?;
        let (archive, partial) = (theirs.join("saved.tar"), theirs.join("saved.tar.partial"));
        // The kernel kills who makes a file longer than this: in the midst of what was the container's memory.
        let service = stage.node.service_pid("berth-cri")?;
        run(&format!("prlimit --pid {service} --fsize=2000000:"))?;
        // Nobody starts it again while it is looked at what it has left.
        let berthd = stage.node.berthd_pid()?;
        signal(berthd, Signal::STOP)?;
        let saved = checkpoint(stage, &id, &archive, 0);
        let left = fs_err::metadata(&partial).map(|left| left.len());
        signal(berthd, Signal::CONT)?;
        ensure!(saved.is_err(), "the service has died");
        let left = left?;
        ensure!(0 < left && left <= 2_000_000, "{left} bytes");

        until("it is removed", SOON, || !partial.exists())?;
        number_when_it_answers(stage, &id)?;
        let marks = stage.node.path("root/cri/checkpoints");
        until("nothing says that it is written", SOON, || {
            fs_err::read_dir(&marks).is_ok_and(|left| left.count() == 0)
        })?;
        checkpoint(stage, &id, &archive, 0)?;
        let names = fs_err::read_dir(&theirs)?.map(|entry| Ok(entry?.path()));
        assert_eq!(names.collect::<Result<Vec<_>>>()?, [archive]);
        ensure!(fs_err::read_dir(&marks)?.next().is_none(), "it is written");
        Ok(stage.remove_pod(&pod)?)
    })
}
