//! docker-compose.yml and the images of deploy/docker, built and run by Debian's dockerd, which runs on berth, in a
//! network namespace that has no way out. Images that are not to be had without a network are replaced: see override.yml.
//!
//! `make compose-test` runs these; `make test` does not. Needs root.

mod apart;
mod debian;
mod project;
mod stage;

use anyhow::Result;

use stage::Stage;

#[test]
fn three_nodes_and_those_who_watch_over_them() -> Result<()> {
    let stage = Stage::new()?;
    project::comes_up(&stage)?;
    project::is_watched(&stage)?;
    project::runs_what_was_pushed(&stage)?;
    project::shows_what_all_nodes_hold(&stage)?;
    project::ask_each_other(&stage)?;
    project::tells_its_traces(&stage)?;
    project::survives_the_ends_of_nodes(&stage)?;
    project::goes_and_comes_back(&stage)?;
    project::leaves_nothing(&stage)?;
    stage.clear()
}

#[test]
fn services_in_containers_of_their_own_are_a_node() -> Result<()> {
    let stage = Stage::new()?;
    apart::images_are_built(&stage)?;
    apart::services_are_a_node(&stage)?;
    apart::programs_are_put_onto_a_machine(&stage)?;
    stage.clear()
}
