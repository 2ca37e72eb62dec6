//! The annotations by which a pod's network is made slower.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::{Error, Result};

const INGRESS: &str = "kubernetes.io/ingress-bandwidth";
const EGRESS: &str = "kubernetes.io/egress-bandwidth";
/// As much may come at once as containerd allows, in bits.
const BURST: u32 = u32::MAX;
/// The least and the most, in bits a second.
const LEAST: f64 = 1e3;
const MOST: f64 = 1e15;

/// What the plugin of bandwidths is told of a pod's annotations, if they say anything.
///
/// # Errors
/// [`Error::Refused`] for one that is no quantity, or makes no sense.
pub fn of(annotations: &HashMap<String, String>) -> Result<Option<Value>> {
    let rate = |key| annotations.get(key).map(|text| bits(text)).transpose();
    let (ingress, egress) = (rate(INGRESS)?, rate(EGRESS)?);
    if ingress.is_none() && egress.is_none() {
        return Ok(None);
    }
    let mut told = json!({});
    for (rate, names) in
        [(ingress, ["ingressRate", "ingressBurst"]), (egress, ["egressRate", "egressBurst"])]
    {
        if let Some(rate) = rate {
            (told[names[0]], told[names[1]]) = (json!(rate), json!(BURST));
        }
    }
    Ok(Some(told))
}

/// A quantity of Kubernetes: a number with an exponent, or with a suffix of powers of 1000 or 1024.
fn bits(text: &str) -> Result<u64> {
    let wrong = |why: &str| {
        let step = "get cni namespace options: reading pod bandwidth annotations";
        Error::Refused(format!("{step}: {why}"))
    };
    let at = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-'));
    let (number, suffix) = text.split_at(at.unwrap_or(text.len()));
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0_f64.powi(2),
        "Gi" => 1024.0_f64.powi(3),
        "Ti" => 1024.0_f64.powi(4),
        "Pi" => 1024.0_f64.powi(5),
        "Ei" => 1024.0_f64.powi(6),
        exponent => power(exponent).ok_or_else(|| wrong(&format!("{text:?} is no quantity")))?,
    };
    let number: f64 = number.parse().map_err(|_| wrong(&format!("{text:?} is no quantity")))?;
    match number * factor {
        bits if bits < LEAST => Err(wrong("resource is unreasonably small (< 1kbit)")),
        bits if bits > MOST => Err(wrong("resource is unreasonably large (> 1Pbit)")),
        // Within what was checked.
        bits => Ok(bits as u64),
    }
}

/// What `e3` or `E3` multiplies by.
fn power(text: &str) -> Option<f64> {
    let exponent = text.strip_prefix(['e', 'E'])?.parse::<i32>().ok()?;
    Some(10.0_f64.powi(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_bits_a_second() {
        for (text, expected) in [
            ("1M", 1_000_000),
            ("2Ki", 2048),
            ("1.5G", 1_500_000_000),
            ("5000", 5000),
            ("1e6", 1_000_000),
            ("1.5E+3", 1500),
            ("2000000000u", 2000),
        ] {
            assert_eq!(bits(text).unwrap(), expected, "{text}");
        }
        for text in ["", "M", "1X", "10", "-1M", "2P", "1e400", "1E", "1e", "1e3k"] {
            assert!(bits(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_said_of_one_direction_is_told_of_that_alone() {
        let annotations = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
        };
        assert_eq!(of(&annotations(&[("other", "1M")])).unwrap(), None);
        let told = of(&annotations(&[(INGRESS, "1M")])).unwrap().unwrap();
        assert_eq!(told, json!({"ingressRate": 1_000_000, "ingressBurst": BURST}));
    }
}
