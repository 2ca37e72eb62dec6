//! Who may do what, and what others write.

mod expired;
mod hostile;
mod peers;
mod rights;
mod roles;

use anyhow::Result;
use berth_testkit::{Authority, Etcd};

use crate::cluster::Setting;

/// A node that shows this etcd a certificate of its own: `of-NAME.pem`, for the user of that name.
fn with_certificate(authority: &Authority, etcd: &Etcd, name: &str, keys: &str) -> Result<Setting> {
    let user = format!("of-{name}");
    authority.issue_to(&user, &user, &format!("DNS:{user}"))?;
    let path = |file: &str| authority.path(file);
    let (ca, cert, key) =
        (path("ca.pem"), path(&format!("{user}.pem")), path(&format!("{user}.key")));
    let endpoints = etcd.endpoints();
    let etcd = format!("endpoints = {endpoints:?}\nca = {ca:?}\ncert = {cert:?}\nkey = {key:?}");
    Ok(Setting { etcd, ..Setting::new(name, &[], keys) })
}
