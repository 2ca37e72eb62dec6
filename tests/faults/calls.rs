//! What clients ask for, with Debian's ctr, what each needs, and how it ends.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use berth_testkit::Run;

use crate::fault::{BUNDLE, DISTRIBUTION, GATEWAY, RUNTIME};
use crate::stage::{STEADY, Stage};

/// The deadline that the client gives its calls. Sooner than that of the services for each other.
pub const DEADLINE: Duration = Duration::from_secs(15);

/// The client's deadline, and its own time for a start and an end on a machine that is busy.
pub const BOUND: Duration = Duration::from_secs(60);

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Version,
    Images,
    Blob,
    Pull,
    Run,
    Exec,
    Stop,
}

pub const ALL: [Kind; 7] =
    [Kind::Version, Kind::Images, Kind::Blob, Kind::Pull, Kind::Run, Kind::Exec, Kind::Stop];

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    Works,
    Unavailable,
    Deadline,
    Exhausted,
    /// A shim took over what its service had run out of, and was killed as it started.
    Failed,
}

impl End {
    pub fn words(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Unavailable => "UNAVAILABLE",
            Self::Deadline => "DEADLINE_EXCEEDED",
            Self::Exhausted => "RESOURCE_EXHAUSTED",
            Self::Failed => "UNKNOWN",
        }
    }

    /// By the words that containerd's client has for the codes.
    fn of(printed: &str) -> Option<Self> {
        let says = |words: &str| printed.to_lowercase().contains(words);
        // ctr calls RESOURCE_EXHAUSTED unknown: `effect.rs` looks at the codes themselves.
        let run_out = [
            "no space left on device",
            "too many open files",
            "cannot allocate memory",
            "resource temporarily unavailable",
            "error 24",
            "failed to map segment",
        ];
        if run_out.into_iter().any(says) {
            Some(Self::Exhausted)
        } else if says("failed to start shim") {
            Some(Self::Failed)
        } else if says("deadline exceeded") {
            Some(Self::Deadline)
        } else if says("unavailable") || says("failed to dial") || says("eof: unknown") {
            // ctr has no code for a gateway that is not there, and none for a stream of a blob that ended before it
            // sent the next message: it does not read then how that ended.
            Some(Self::Unavailable)
        } else {
            None
        }
    }
}

impl Kind {
    pub fn words(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Images => "list images",
            Self::Blob => "read a blob",
            Self::Pull => "pull",
            Self::Run => "run",
            Self::Exec => "exec",
            Self::Stop => "stop",
        }
    }

    /// The services without which it does not work.
    pub fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Version => &[GATEWAY],
            Self::Images | Self::Blob => &[GATEWAY, DISTRIBUTION],
            Self::Pull => &[GATEWAY, DISTRIBUTION, BUNDLE],
            Self::Run => &[GATEWAY, DISTRIBUTION, BUNDLE, RUNTIME],
            Self::Exec | Self::Stop => &[GATEWAY, RUNTIME],
        }
    }

    /// The command, of which there is one of each `round` only.
    fn command(self, stage: &Stage, round: &str) -> Run {
        let (image, id) = (&stage.image, stage.id(round));
        let line = match self {
            Self::Version => "version".to_owned(),
            Self::Images => "images ls".to_owned(),
            Self::Blob => format!("content get {}", stage.blob),
            Self::Pull => format!("images pull --plain-http {}", stage.fresh),
            Self::Run => format!("run --rm {image} {id}-run true"),
            Self::Exec => format!("tasks exec --exec-id {id} {} echo on", stage.id(STEADY)),
            Self::Stop => format!("tasks kill -s KILL {}", stage.victim),
        };
        stage.node.ctr(&format!("--timeout {DEADLINE:?} {line}")).patience(BOUND)
    }

    /// Begins the call.
    pub fn begin(self, stage: &Stage, round: &str) -> Begun {
        Begun::client(self, self.command(stage, round))
    }
}

/// A call under way.
pub struct Begun {
    pub kind: Kind,
    pub call: JoinHandle<Result<(End, Duration)>>,
}

impl Begun {
    /// A call that this command makes.
    pub fn client(kind: Kind, command: Run) -> Self {
        let call = move || -> Result<_> {
            let started = Instant::now();
            let output = command.output()?;
            let took = started.elapsed();
            if output.code == 0 {
                return Ok((End::Works, took));
            }
            let printed = output.to_string();
            Ok((End::of(&printed).with_context(|| format!("no code: {printed}"))?, took))
        };
        Begun { kind, call: std::thread::spawn(call) }
    }

    /// How it ended, and after how long. A call that does not end is an error.
    pub fn end(self) -> Result<(Kind, End, Duration)> {
        let ended = self.call.join().expect("no panic");
        let (end, took) = ended.with_context(|| self.kind.words())?;
        Ok((self.kind, end, took))
    }
}

/// All that was possible before is again.
pub fn all_work(stage: &Stage, round: &str) -> Result<()> {
    let again = ALL.into_iter().filter(|kind| *kind != Kind::Stop);
    let begun: Vec<_> = again.map(|kind| kind.begin(stage, round)).collect();
    let ended: Vec<_> = begun.into_iter().map(Begun::end).collect();
    for ended in ended {
        let (kind, end, _) = ended?;
        ensure!(end == End::Works, "{}: {}", kind.words(), end.words());
    }
    Ok(())
}
