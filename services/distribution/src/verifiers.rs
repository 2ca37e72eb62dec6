//! Programs that judge an image before it is pulled, run as containerd's `bindir` verifier runs
//! them.
//!
//! Owns: which programs there are, what each is told and what its answer means. Must not know:
//! registries, blobs, images' records.

use std::path::{Path, PathBuf};

use berth_config::ImageVerifiers;
use berth_errors::{Code, Coded};
use berth_ids::Digest;
use berth_lifecycle::child;

use crate::registry::Descriptor;

/// The media type of what a program finds on its standard input.
const DESCRIPTOR: &str = "application/vnd.oci.descriptor.v1+json";
/// How much of a program's words is kept.
const MAX_WORDS: usize = 32 << 10;

/// No permission to pull.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program said no.
    #[error(
        "image verifier bindir blocked pull of {name} with digest {digest} for reason: verifier {verifier} rejected image (exit code {code}): {words}: permission denied"
    )]
    Refused {
        /// The program.
        verifier: String,
        /// The image.
        name: String,
        /// What it names now.
        digest: Digest,
        /// Its exit code.
        code: i32,
        /// What it wrote.
        words: String,
    },
    /// A program gave no judgement, so that nothing is pulled.
    #[error("blocking pull of {name} with digest {digest}: image verifier bindir returned error: failed to call verifier {}: {reason}, mend or remove it: failed precondition", verifier.display())]
    NoJudgement {
        /// The program, or the folder of programs.
        verifier: PathBuf,
        /// The image.
        name: String,
        /// What it names now.
        digest: Digest,
        /// What went wrong.
        reason: String,
    },
}

impl Coded for Error {
    fn code(&self) -> Code {
        match self {
            Error::Refused { .. } => Code::PermissionDenied,
            Error::NoJudgement { .. } => Code::FailedPrecondition,
        }
    }
}

/// The node's programs. Each is asked in turn; all have to agree.
#[derive(Clone, Debug)]
pub struct Verifiers(ImageVerifiers);

impl Verifiers {
    /// As the configuration says. The folder is read anew for each image.
    #[must_use]
    pub fn new(config: &ImageVerifiers) -> Self {
        Self(config.clone())
    }

    /// Whether the image `name`, which is `target` now, may be pulled.
    ///
    /// # Errors
    /// [`Error`]: it may not.
    pub async fn judge(&self, name: &str, target: &Descriptor) -> Result<(), Error> {
        let mut programs = self.programs(name, target)?;
        // A negative number is none.
        if let Ok(most) = usize::try_from(self.0.max_verifiers)
            && programs.len() > most
        {
            let (folder, found) = (self.0.bin_dir.display(), programs.len());
            tracing::warn!(%folder, found, asked = most, "too many image verifiers");
            programs.truncate(most);
        }
        for program in programs {
            self.ask(&program, name, target).await?;
        }
        Ok(())
    }

    fn programs(&self, name: &str, target: &Descriptor) -> Result<Vec<PathBuf>, Error> {
        if self.0.left_out {
            return Ok(Vec::new());
        }
        let folder = &self.0.bin_dir;
        let wrong = |error: std::io::Error| no_judgement(folder, name, target, error.to_string());
        let entries = match fs_err::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(wrong(error)),
        };
        let mut programs = Vec::new();
        for entry in entries {
            programs.push(entry.map_err(wrong)?.path());
        }
        programs.sort();
        Ok(programs)
    }

    async fn ask(&self, program: &Path, name: &str, target: &Descriptor) -> Result<(), Error> {
        let wrong = |reason: String| no_judgement(program, name, target, reason);
        let descriptor = serde_json::to_vec(target).map_err(|e| wrong(e.to_string()))?;
        let mut command = child::command(program);
        command.args(["-name", name, "-digest", target.digest.as_str()]);
        command.args(["-stdin-media-type", DESCRIPTOR]);
        let asked =
            child::output_with_input(command, &descriptor, self.0.per_verifier_timeout.0).await;
        let output = asked.map_err(|e| wrong(berth_errors::chain(&e)))?;
        let said = String::from_utf8_lossy(&output.stderr[..output.stderr.len().min(MAX_WORDS)]);
        tracing::debug!(program = %program.display(), stderr = said.trim(), "image verifier said");
        let words = words(&output.stdout);
        let verifier = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match output.status.code() {
            Some(0) => {
                tracing::info!(verifier, image = name, words, "image verifier agrees");
                Ok(())
            }
            Some(code) => Err(Error::Refused {
                verifier,
                name: name.to_owned(),
                digest: target.digest.clone(),
                code,
                words,
            }),
            None => Err(wrong(format!("it ended by {}", output.status))),
        }
    }
}

fn no_judgement(verifier: &Path, name: &str, target: &Descriptor, reason: String) -> Error {
    let (name, digest) = (name.to_owned(), target.digest.clone());
    Error::NoJudgement { verifier: verifier.to_owned(), name, digest, reason }
}

fn words(output: &[u8]) -> String {
    let kept = String::from_utf8_lossy(&output[..output.len().min(MAX_WORDS)]);
    let rest = if output.len() > MAX_WORDS { "(stdout truncated)" } else { "" };
    format!("{}{rest}", kept.trim())
}
