//! How containers are asked to end.

use anyhow::{Context, Result, ensure};
use berth_proto::runtime::v1 as cri;
use berth_testkit::{Image, Layer, Registry, until};
use cri::Signal;
use serde_json::json;

use crate::stage::{SOON, Stage, on_a_node, shell};

/// It ends with the number of the signal that it is asked by.
const TELLS: &str = "for n in 1 2 3 10 12 15 37; do trap \"echo asked by $n; exit $n\" $n; done; \
    echo ready; while true; do sleep 0.05; done";

/// An image with this signal, or none.
fn image(stage: &Stage, registry: &Registry, signal: &str) -> Result<String> {
    let config = match signal {
        "" => json!({"Cmd": ["sh"]}),
        signal => json!({"Cmd": ["sh"], "StopSignal": signal}),
    };
    let name = format!("asked-by{}:1", signal.to_lowercase().replace('+', "-"));
    let image = Image::build(vec![Layer::busybox()?], config)?.push(registry, &name)?;
    stage.pull_of(&image)?;
    Ok(image)
}

#[test]
fn a_container_is_asked_by_the_signal_of_its_own_or_of_its_image() -> Result<()> {
    on_a_node(|stage| {
        let registry = Registry::start()?;
        let (logs, pod_config, pod) = stage.pod_with_logs("signals")?;
        // Of the image, of the container; what is told, and what comes.
        let cases = [
            ("SIGUSR1", Signal::RuntimeDefault, Signal::Sigusr1, 10),
            ("SIGUSR1", Signal::Sigusr2, Signal::Sigusr2, 12),
            ("SIGRTMIN+3", Signal::RuntimeDefault, Signal::Sigrtminplus3, 37),
            ("", Signal::Sigquit, Signal::Sigquit, 3),
        ];
        for (number, (of_image, own, told, comes)) in cases.into_iter().enumerate() {
            let image = image(stage, &registry, of_image)?;
            let name = format!("c{number}");
            let mut config = shell(&name, &image, TELLS);
            config.stop_signal = own.into();
            let id = stage.started(&pod, &config, &pod_config)?;
            let log = logs.join(format!("{name}.log"));
            until("it is ready", SOON, || {
                fs_err::read_to_string(&log).is_ok_and(|text| text.contains("ready"))
            })?;
            assert_eq!(stage.container(&id)?.stop_signal(), told, "{of_image:?} {own:?}");
            stage.stop(&id, 60)?;
            let ended = stage.container(&id)?;
            assert_eq!(
                (ended.exit_code, ended.stop_signal()),
                (comes, told),
                "{of_image:?} {own:?}"
            );
            let text = fs_err::read_to_string(&log)?;
            let last = text.lines().last().context("a line")?;
            ensure!(last.ends_with(&format!("stdout F asked by {comes}")), "{text}");
        }
        Ok(stage.remove_pod(&pod)?)
    })
}
