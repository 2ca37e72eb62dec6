//! Chain IDs: the names of layers stacked on each other.

use berth_ids::Digest;

use crate::content::hash::sha256;

/// The chain ID after each layer (OCI image specification).
#[must_use]
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        chain.push(match chain.last() {
            None => diff_id.clone(),
            Some(below) => sha256(format!("{below} {diff_id}").as_bytes()),
        });
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_names_all_below_it() {
        let (a, b) = (sha256(b"a"), sha256(b"b"));
        let chain = chain_ids(&[a.clone(), b.clone()]);
        assert_eq!(chain, [a.clone(), sha256(format!("{a} {b}").as_bytes())]);
        assert_eq!(chain_ids(&[]), []);
    }
}
