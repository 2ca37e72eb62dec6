//! Whom a certificate is for.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// The most names of a certificate that are looked at.
pub const MAX_NAMES: usize = 64;

/// The DNS names of a certificate, as they are written there; at most [`MAX_NAMES`]. None of one that cannot
/// be read.
///
/// It says nothing about who issued it: that was checked when the connection was made.
#[must_use]
pub fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else { return Vec::new() };
    certificate.valid_dns_names().take(MAX_NAMES).map(str::to_owned).collect()
}
