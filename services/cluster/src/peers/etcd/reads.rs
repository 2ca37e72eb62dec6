//! Reading keys.

use etcd_client::{Client, GetOptions, GetResponse};

use super::calls::{Again, By};
use super::faults::{About, Fault};
use super::{Entry, Etcd, MAX_ANSWER, Page, Seen};
use crate::Result;

impl Etcd {
    /// The newest revision, and whose it is. Tells it by reading [`super::Settings::probe`].
    ///
    /// # Errors
    /// As every call here: [`crate::Error::Away`], [`crate::Error::Forbidden`],
    /// [`crate::Error::Certificate`], [`crate::Error::Etcd`].
    pub async fn seen(&self) -> Result<Seen> {
        let about = About { step: "reading the revision", ..About::default() };
        let options = GetOptions::new().with_keys_only();
        let answer = self.range(about, self.members.probe().as_bytes(), options);
        answer.await.map(|(_, seen)| seen)
    }

    /// What is at a key.
    ///
    /// # Errors
    /// As every call here.
    pub async fn get(&self, key: &str) -> Result<(Option<Entry>, Seen)> {
        let about = About { step: "reading a key", ..About::default() };
        let (answer, seen) = self.range(about, key.as_bytes(), GetOptions::new()).await?;
        Ok((answer.0.kvs.into_iter().next().map(Entry::of), seen))
    }

    /// A part of what begins with `prefix`: after `after` if that is given, as of revision `at` (0: now), at
    /// most `limit` entries; fewer if they are large.
    ///
    /// # Errors
    /// [`crate::Error::Compacted`] when `at` is not kept any more, or has not come yet.
    pub async fn page(
        &self,
        prefix: &str,
        after: Option<&[u8]>,
        at: i64,
        limit: usize,
    ) -> Result<Page> {
        let about = About { step: "reading keys", revision: at, ..About::default() };
        let end = end_of(prefix.as_bytes());
        let start = after.map_or_else(|| prefix.as_bytes().to_vec(), |key| [key, b"\0"].concat());
        let mut limit = limit.max(1);
        loop {
            let count = i64::try_from(limit).unwrap_or(i64::MAX);
            let options = GetOptions::new().with_range(end.clone());
            let options = options.with_limit(count).with_revision(at);
            let ask = |client, _| range(client, start.clone(), options.clone());
            let answer = self.members.call(about, Again::Yes, By::Shared, ask).await?;
            let Some((answer, seen)) = answer else {
                if limit == 1 {
                    let reason = format!("one key has more than {MAX_ANSWER} bytes");
                    return Err(self.members.error(Fault::TooLarge(reason), about, 0));
                }
                limit /= 2;
                continue;
            };
            let more = answer.0.more;
            let entries = answer.0.kvs.into_iter().map(Entry::of).collect();
            return Ok(Page { entries, more, seen });
        }
    }

    async fn range(
        &self,
        about: About,
        key: &[u8],
        options: GetOptions,
    ) -> Result<(GetResponse, Seen)> {
        let ask = |client, _| async {
            let answer = range(client, key.to_vec(), options.clone()).await?;
            answer.ok_or_else(|| Fault::TooLarge(format!("it has more than {MAX_ANSWER} bytes")))
        };
        self.members.call(about, Again::Yes, By::Shared, ask).await
    }
}

/// What is found; nothing if that is too large.
async fn range(
    client: Client,
    key: Vec<u8>,
    options: GetOptions,
) -> Result<Option<(GetResponse, Seen)>, Fault> {
    let mut client = client.kv_client().max_decoding_message_size(MAX_ANSWER);
    match client.get(key, Some(options)).await.map_err(Fault::from) {
        Ok(answer) => {
            let seen = Seen::of(answer.header())?;
            Ok(Some((answer, seen)))
        }
        Err(Fault::TooLarge(_)) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// The first key after all that begin with `prefix`, as etcd wants it: a zero when there is none.
pub(super) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::end_of;

    #[test]
    fn a_prefix_ends_before_the_next_key() {
        assert_eq!(end_of(b"/a/"), b"/a0");
        assert_eq!(end_of(b"a\xff\xff"), b"b");
        assert_eq!(end_of(b"\xff"), b"\0");
        assert_eq!(end_of(b""), b"\0");
    }
}
