//! A fault of some services, and what is expected meanwhile and afterwards.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::calls::{self, ALL, Begun, End, Kind};
use crate::codes;
use crate::fault::{BUNDLE, DISTRIBUTION, Fault, GATEWAY, RUNTIME, SUPERVISOR};
use crate::page::Row;
use crate::stage::Stage;

/// How long it may take until all works again, on a machine that is busy.
const RECOVERY: Duration = Duration::from_secs(90);

const SERVICES: [&str; 4] = [GATEWAY, DISTRIBUTION, BUNDLE, RUNTIME];

pub struct Case {
    pub fault: Fault,
    pub services: Vec<&'static str>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.services.iter().map(|s| s.trim_start_matches("berth-")).collect();
        write!(f, "{} {}", names.join(" and "), self.fault.words())
    }
}

/// All cases, as they come in the table.
pub fn all() -> Vec<Case> {
    use Fault::{Descriptors, Disk, Killed, Memory, Oom, Slowed, Stopped};
    let mut cases = vec![Case { fault: Killed, services: vec![SUPERVISOR] }];
    for fault in [Killed, Stopped, Slowed, Oom, Memory, Descriptors, Disk] {
        // The gateway keeps nothing on disk.
        let services = if fault == Disk { &SERVICES[1..] } else { &SERVICES[..] };
        cases.extend(services.iter().map(|service| Case { fault, services: vec![service] }));
        for (at, one) in services.iter().enumerate() {
            let others = services[at + 1..].iter();
            cases.extend(others.map(|other| Case { fault, services: vec![one, other] }));
        }
    }
    cases
}

impl Case {
    /// How a call may end. Where there are several, it is a matter of the moment.
    pub fn expected(&self, kind: Kind) -> &'static [End] {
        use End::{Deadline, Exhausted, Failed, Unavailable, Works};
        let needed = |s: &&str| *s == SUPERVISOR || kind.needs().contains(s);
        if !self.services.iter().any(needed) {
            return &[Works];
        }
        match self.fault {
            Fault::Oom if kind == Kind::Run && self.services.contains(&RUNTIME) => {
                &[Works, Unavailable, Failed]
            }
            Fault::Killed | Fault::Oom => &[Works, Unavailable],
            Fault::Stopped => &[Deadline],
            Fault::Slowed => &[Works],
            Fault::Memory if kind == Kind::Run && self.services.contains(&RUNTIME) => {
                &[Works, Unavailable, Exhausted, Failed]
            }
            Fault::Descriptors if kind == Kind::Run && self.services.contains(&RUNTIME) => {
                &[Works, Unavailable, Exhausted, Deadline, Failed]
            }
            Fault::Memory => &[Works, Unavailable, Exhausted],
            Fault::Descriptors => &[Works, Unavailable, Exhausted, Deadline],
            Fault::Disk => &[Works, Exhausted],
        }
    }

    /// Makes the fault while clients call, lifts it, and looks at what is left.
    pub fn go_through(&self, stage: &mut Stage, number: usize) -> Result<Row> {
        stage.prepare(number)?;
        let mut begun = Vec::new();
        let round = format!("{number}");
        let mut call = |stage: &Stage| begun.extend(ALL.map(|kind| kind.begin(stage, &round)));
        // A service that was killed is back soon: what is asked of it then is under way.
        let ends = matches!(self.fault, Fault::Killed | Fault::Oom);
        if ends {
            call(stage);
        }
        let make = |service: &&str| self.fault.make(&mut stage.node, service);
        let lifts = self.services.iter().map(make).collect::<Result<Vec<_>>>()?;
        if !ends {
            call(stage);
        }
        let told = self.services.iter().filter(|_| !self.services.contains(&GATEWAY));
        let codes = told.map(|s| codes::begin(stage, self.fault, s, number));
        let codes: Vec<_> = codes.collect();
        let beaten = stage.beats("the fault is made");
        let lift = |stage: &mut Stage| lifts.into_iter().try_for_each(|l| l.lift(&mut stage.node));
        let (ended, lifted) = if self.services.contains(&SUPERVISOR) {
            let lifted = Instant::now();
            lift(stage)?;
            (ended(begun), lifted)
        } else {
            let ended = ended(begun);
            let codes = codes.into_iter().try_for_each(|code| code.join().expect("no panic"));
            let lifted = Instant::now();
            lift(stage)?;
            (ended.and_then(|ended| codes.map(|()| ended)), lifted)
        };
        beaten?;
        let mut longest = Duration::ZERO;
        for (kind, end, took) in ended? {
            let expected = self.expected(kind);
            ensure!(
                expected.contains(&end),
                "{}: {} after {took:?}, expected {expected:?}",
                kind.words(),
                end.words()
            );
            longest = longest.max(took);
        }
        let back = recovered(stage, &round, lifted)?;
        stage.beats("the fault is lifted")?;
        stage.clear(&round)?;
        Ok(Row::of(self, longest, back))
    }
}

/// All are waited for before one is an error.
fn ended(begun: Vec<Begun>) -> Result<Vec<(Kind, End, Duration)>> {
    let ended: Vec<_> = begun.into_iter().map(Begun::end).collect();
    ended.into_iter().collect()
}

/// Tries until all works, and answers after how long that was so.
fn recovered(stage: &Stage, round: &str, lifted: Instant) -> Result<Duration> {
    let mut tries = 0;
    loop {
        tries += 1;
        let works = calls::all_work(stage, &format!("{round}-back-{tries}"));
        match works {
            Ok(()) => return Ok(lifted.elapsed()),
            Err(error) if lifted.elapsed() > RECOVERY => {
                return Err(error).context("not all works again");
            }
            Err(_) => {}
        }
    }
}
