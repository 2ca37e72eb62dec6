//! A fault of some services, and what is expected meanwhile and afterwards.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::calls::{self, ALL, BOUND, Begun, DEADLINE, End, Kind};
use crate::effect::{Effect, Looking, Way};
use crate::fault::{BUNDLE, DISTRIBUTION, Fault, GATEWAY, Lift, RUNTIME, SUPERVISOR};
use crate::held::Held;
use crate::page::Row;
use crate::stage::Stage;

/// How long it may take until all works again, on a machine that is busy.
const RECOVERY: Duration = Duration::from_secs(90);

const SERVICES: [&str; 4] = [GATEWAY, DISTRIBUTION, BUNDLE, RUNTIME];

/// Ways in which a call may end.
pub type Ends = BTreeSet<End>;

type Hit = (Fault, &'static str);

pub struct Case {
    pub hits: Vec<Hit>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |(_, service): &Hit| service.trim_start_matches("berth-");
        let same = self.hits.iter().all(|(fault, _)| *fault == self.hits[0].0);
        let told = self.hits.iter().map(|hit| match same {
            true => name(hit).to_owned(),
            false => format!("{} {}", name(hit), hit.0.words()),
        });
        let told: Vec<_> = told.collect();
        let told = told.join(if same { " and " } else { ", " });
        if same { write!(f, "{told} {}", self.hits[0].0.words()) } else { f.write_str(&told) }
    }
}

/// Different faults at once: each service once as the one that is away for a moment while another
/// is away for long, or has run out of something.
const MIXED: [[Hit; 2]; 9] = [
    [(Fault::Killed, DISTRIBUTION), (Fault::Stopped, RUNTIME)],
    [(Fault::Killed, DISTRIBUTION), (Fault::Disk, BUNDLE)],
    [(Fault::Killed, RUNTIME), (Fault::Stopped, BUNDLE)],
    [(Fault::Killed, BUNDLE), (Fault::Slowed, GATEWAY)],
    [(Fault::Killed, GATEWAY), (Fault::Stopped, BUNDLE)],
    [(Fault::Oom, RUNTIME), (Fault::Disk, DISTRIBUTION)],
    [(Fault::Descriptors, RUNTIME), (Fault::Slowed, BUNDLE)],
    [(Fault::Descriptors, BUNDLE), (Fault::Stopped, DISTRIBUTION)],
    [(Fault::Memory, BUNDLE), (Fault::Disk, RUNTIME)],
];

/// All cases, as they come in the table.
pub fn all() -> Vec<Case> {
    use Fault::{Descriptors, Disk, Killed, Memory, Oom, Slowed, Stopped};
    let mut cases = vec![Case { hits: vec![(Killed, SUPERVISOR)] }];
    for fault in [Killed, Stopped, Slowed, Oom, Memory, Descriptors, Disk] {
        // The gateway keeps nothing on disk.
        let services = if fault == Disk { &SERVICES[1..] } else { &SERVICES[..] };
        cases.extend(services.iter().map(|service| Case { hits: vec![(fault, service)] }));
        for (at, one) in services.iter().enumerate() {
            let others = services[at + 1..].iter();
            cases.extend(others.map(|other| Case { hits: vec![(fault, one), (fault, other)] }));
        }
    }
    cases.extend(MIXED.map(|hits| Case { hits: hits.to_vec() }));
    cases
}

/// How a call may end that needs a service with a fault.
fn ends((fault, service): Hit, kind: Kind) -> Ends {
    use End::{Deadline, Exhausted, Failed, Unavailable, Works};
    let ends: &[End] = match fault {
        // What starts a shim may hand it a control group or limits without room.
        Fault::Oom if kind == Kind::Run && service == RUNTIME => &[Works, Unavailable, Failed],
        Fault::Memory if kind == Kind::Run && service == RUNTIME => {
            &[Works, Unavailable, Exhausted, Failed]
        }
        Fault::Killed | Fault::Oom => &[Works, Unavailable],
        Fault::Stopped => &[Deadline],
        Fault::Slowed => &[Works],
        Fault::Memory => &[Works, Unavailable, Exhausted],
        Fault::Descriptors => &[Works, Unavailable, Exhausted, Deadline],
        // What is asked between a flush that failed and the store's opening again can be asked again.
        Fault::Disk => &[Works, Unavailable, Exhausted],
    };
    ends.iter().copied().collect()
}

/// What has come of the calls of a case.
#[derive(Default)]
pub struct Observed {
    /// Of those begun while the fault was there, and how the slowest of them went.
    pub begun: Vec<(Kind, End)>,
    pub longest: Duration,
    /// Of those under way when it set in.
    pub held: Ends,
    pub back: Duration,
}

impl Case {
    fn of(&self, service: &str) -> bool {
        self.hits.iter().any(|hit| hit.1 == service)
    }

    /// How a call may end that is begun while the fault is there. Where there are several ways, it is a
    /// matter of the moment.
    pub fn expected(&self, kind: Kind) -> Ends {
        let needed = |hit: &&Hit| hit.1 == SUPERVISOR || kind.needs().contains(&hit.1);
        let sets: Vec<_> = self.hits.iter().filter(needed).map(|hit| ends(*hit, kind)).collect();
        let works = sets.iter().all(|set| set.contains(&End::Works));
        let mut all: Ends = sets.into_iter().flatten().collect();
        // It has to pass each of them.
        if works {
            all.insert(End::Works)
        } else {
            all.remove(&End::Works)
        };
        all
    }

    /// How one may end that was under way: the services that failed may have done their part.
    pub fn expected_held(&self, kind: Kind) -> Ends {
        self.expected(kind).into_iter().chain([End::Works]).collect()
    }

    /// Whether a service says nothing, and is waited for.
    pub fn is_long(&self) -> bool {
        self.hits.iter().any(|hit| hit.0 == Fault::Stopped)
    }

    /// That of programs under way, which are begun before the fault is made, however long that takes.
    fn held_deadline(&self) -> Duration {
        if self.is_long() { DEADLINE } else { BOUND }
    }

    /// Makes the fault while clients call, lifts it, and looks at what is left.
    pub fn go_through(&self, stage: &mut Stage, number: usize) -> Result<Row> {
        stage.prepare(number)?;
        let round = format!("{number}");
        let effects = self.effects(stage, number)?;
        let held = Held::begin(stage, &round, self.held_deadline())?;
        // A service that was killed is back soon: what is asked of it then is under way.
        let mut lifts = self.make(stage, false)?;
        let begun: Vec<_> = ALL.map(|kind| kind.begin(stage, &round)).into();
        lifts.extend(self.make(stage, true)?);
        let held = held.go_on()?;
        let looking: Vec<_> = effects.into_iter().map(|effect| effect.look(stage)).collect();
        let beaten = stage.beats("the fault is made");
        let lift = |stage: &mut Stage| lifts.into_iter().try_for_each(|l| l.lift(&mut stage.node));
        let seen = |looking: Vec<Looking>| {
            let seen: Vec<_> = looking.into_iter().map(Looking::seen).collect();
            seen.into_iter().collect::<Result<Vec<_>>>()
        };
        let (both, left, lifted);
        if self.of(SUPERVISOR) {
            lifted = Instant::now();
            lift(stage)?;
            both = (ended(begun), ended(held));
            left = seen(looking);
        } else {
            both = (ended(begun), ended(held));
            left = seen(looking);
            lifted = Instant::now();
            lift(stage)?;
        }
        beaten?;
        let mut observed = self.observed(both.0?, both.1?)?;
        let left = left?;
        observed.back = recovered(stage, &round, lifted)?;
        left.iter().try_for_each(|left| left.seen(&stage.node))?;
        stage.beats("the fault is lifted")?;
        stage.clear(&round)?;
        Ok(Row::of(self, &observed))
    }

    /// Who is to see an effect of each fault.
    fn effects(&self, stage: &Stage, number: usize) -> Result<Vec<Effect>> {
        let way = match self.hits.iter().find(|hit| hit.1 == GATEWAY) {
            Some((Fault::Stopped, _)) => Way::None,
            Some(_) => Way::Past,
            None => Way::Gateway,
        };
        let of = |hit: &Hit| Effect::awaited(stage, *hit, way, number);
        self.hits.iter().map(of).collect()
    }

    /// Makes those faults that pass by themselves, or those that last.
    fn make(&self, stage: &mut Stage, passing: bool) -> Result<Vec<Lift>> {
        let those = self.hits.iter().filter(|(fault, _)| fault.passes() == passing);
        those.map(|(fault, service)| fault.make(&mut stage.node, service)).collect()
    }

    fn observed(&self, begun: Vec<Ended>, held: Vec<Ended>) -> Result<Observed> {
        let mut observed = Observed::default();
        for (kind, end, took) in begun {
            let expected = self.expected(kind);
            let words = format!("{}: {} after {took:?}", kind.words(), end.words());
            ensure!(expected.contains(&end), "{words}, expected {expected:?}");
            observed.begun.push((kind, end));
            observed.longest = observed.longest.max(took);
        }
        for (kind, end, took) in held {
            let expected = self.expected_held(kind);
            let words = format!("{} under way: {} after {took:?}", kind.words(), end.words());
            ensure!(expected.contains(&end), "{words}, expected {expected:?}");
            observed.held.insert(end);
        }
        Ok(observed)
    }
}

type Ended = (Kind, End, Duration);

/// All are waited for before one is an error.
fn ended(begun: Vec<Begun>) -> Result<Vec<Ended>> {
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
