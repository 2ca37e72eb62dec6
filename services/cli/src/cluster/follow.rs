//! Changes as they come, over breaks of the stream.

use std::time::Duration;

use anyhow::Result;
use berth_proto::berth::cluster::v1::{Change, View, WatchRequest, WatchResponse};
use futures::Stream;
use tonic::{Code, Status, Streaming};

use super::{Query, answered, page};
use crate::client::{Client, Step};

/// Between a break and the next try; doubled up to the longest while there is no answer.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With all that there is, as changes.
    All,
    /// With what comes after now.
    Now,
    /// With the change of this revision.
    At(i64),
}

/// What a watch tells.
#[derive(Debug)]
pub enum Told {
    /// Some changes.
    Changes {
        /// The changes.
        changes: Vec<Change>,
        /// What the view is worth with them.
        view: View,
        /// What was there when it began has been told.
        caught_up: bool,
    },
    /// It broke off, and is resumed where it was.
    Broken(String),
    /// Changes are lost. What was told before is not to be counted on: it begins again.
    Lost(String),
}

/// A watch.
pub struct Follower {
    client: Client,
    query: Query,
    begin: Begin,
    /// The next revision that is wanted, once one is known.
    next: Option<i64>,
    stream: Option<Streaming<WatchResponse>>,
    wait: Duration,
}

impl Follower {
    /// Of what `query` asks for.
    pub fn new(client: &Client, query: Query, begin: Begin) -> Self {
        let next = match begin {
            Begin::At(revision) => Some(revision),
            Begin::All | Begin::Now => None,
        };
        Self { client: client.clone(), query, begin, next, stream: None, wait: FIRST }
    }

    /// What comes next. It ends with an error only, when there is nothing that would pass.
    pub async fn next(&mut self) -> Result<Told> {
        let answered = match self.open().await {
            Ok(stream) => stream.message().await,
            Err(status) => Err(status),
        };
        let status = match answered {
            Ok(Some(answer)) => return Ok(self.took(answer)),
            Ok(None) => Status::unavailable("the node ended the stream"),
            Err(status) => status,
        };
        self.stream = None;
        let passes = [
            Code::Unavailable,
            Code::Cancelled,
            Code::Aborted,
            Code::Unknown,
            Code::Internal,
            // It was read too slowly, or too many watch: what was missed is there still.
            Code::ResourceExhausted,
        ];
        if status.code() != Code::OutOfRange && !passes.contains(&status.code()) {
            return Err(status)
                .step(|| format!("follow {} of the cluster", self.query.kind.name()));
        }
        Ok(self.again(status).await)
    }

    /// Waits a while before the next try, and says what can be counted on.
    async fn again(&mut self, status: Status) -> Told {
        let message = status.message().to_owned();
        let is_late = status.code() == Code::OutOfRange;
        if is_late {
            self.next = None;
            // After this there is no revision to come back to.
            if let Begin::At(_) = self.begin {
                self.begin = Begin::Now;
            }
        }
        // Of a listing that broke off in its midst nothing can be resumed.
        let resumes = self.next.is_some() || self.begin == Begin::Now;
        tokio::time::sleep(self.wait).await;
        self.wait = (self.wait * 2).min(LONGEST);
        if resumes && !is_late { Told::Broken(message) } else { Told::Lost(message) }
    }

    async fn open(&mut self) -> Result<&mut Streaming<WatchResponse>, Status> {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let from_revision = self.from().await?;
                let (kind, filters) = (self.query.kind.wire().into(), self.query.filters.clone());
                let request = self.client.patient(WatchRequest { kind, filters, from_revision });
                answered(self.client.cluster().watch(request)).await?
            }
        };
        Ok(self.stream.insert(stream))
    }

    /// The revision to begin at; 0: with all.
    async fn from(&mut self) -> Result<i64, Status> {
        if self.next.is_none() && self.begin == Begin::Now {
            let listed = page(&self.client, &self.query, 1, String::new()).await?;
            self.next = Some(listed.view.unwrap_or_default().revision + 1);
        }
        Ok(self.next.unwrap_or(0))
    }

    fn took(&mut self, answer: WatchResponse) -> Told {
        self.wait = FIRST;
        let WatchResponse { changes, view, caught_up } = answer;
        let view = view.unwrap_or_default();
        // Before that it is a listing, of which the rest is still to come; without a revision it begins anew.
        if view.revision <= 0 {
            self.next = None;
        } else if self.next.is_some() || caught_up {
            self.next = Some(view.revision + 1);
        }
        Told::Changes { changes, view, caught_up }
    }

    /// The same as a stream, which ends with the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Told>> {
        futures::stream::unfold(Some(self), |follower| async move {
            let mut follower = follower?;
            let told = follower.next().await;
            let goes_on = told.is_ok();
            Some((told, goes_on.then_some(follower)))
        })
    }
}
