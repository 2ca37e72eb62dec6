//! Until when a certificate is good.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

/// Whether the first certificate of a file (PEM) has run out by this machine's clock. One that cannot be read
/// has not.
#[must_use]
pub fn has_run_out(pem: &[u8]) -> bool {
    let Ok(certificate) = CertificateDer::from_pem_slice(pem) else { return false };
    let Ok(certificate) = EndEntityCert::try_from(&certificate) else { return false };
    // Nobody is believed here: the time is looked at before it is asked who has issued it.
    let (now, usage) = (UnixTime::now(), KeyUsage::client_auth());
    let checked = certificate.verify_for_usage(&[], &[], &[], now, usage, None, None);
    matches!(checked, Err(webpki::Error::CertExpired { .. }))
}
