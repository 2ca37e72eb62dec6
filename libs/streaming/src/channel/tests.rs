use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn what_arrives_is_read_and_credited_by_halves_of_the_window() {
    let (link, _queue) = Link::new();
    let (mut feed, mut input, _output) = link.open(5);
    feed.push(&[7; QUEUE]).await;
    let mut half = vec![0; QUEUE / 2];
    input.read_exact(&mut half).await.unwrap();
    let (due, finished) = link.owed.next().await;
    assert_eq!(due[&5], Due { credit: (QUEUE / 2) as u32, ..Due::default() });
    assert_eq!(finished, None);
    feed.end();
    let mut rest = Vec::new();
    input.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, [7; QUEUE / 2]);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_makes_the_connection_wait_until_its_reader_goes() {
    let (link, _queue) = Link::new();
    let (mut feed, input, _output) = link.open(1);
    feed.push(&[0; QUEUE]).await;
    let second = std::time::Duration::from_secs(1);
    assert!(tokio::time::timeout(second, feed.push(b"x")).await.is_err(), "the queue has a bound");
    drop(input);
    feed.push(&[0; 10 * QUEUE]).await;
}

#[tokio::test]
async fn a_cut_off_stream_is_no_end() {
    let (link, _queue) = Link::new();
    let (mut feed, mut input, mut output) = link.open(1);
    feed.push(b"half").await;
    drop(feed);
    let mut got = Vec::new();
    let failure = input.read_to_end(&mut got).await.unwrap_err();
    assert_eq!((failure.kind(), &got[..]), (std::io::ErrorKind::ConnectionReset, &b"half"[..]));
    assert_eq!(output.write(b"x").await.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
}

#[tokio::test(start_paused = true)]
async fn a_window_holds_once_the_client_spoke_of_one() {
    let (link, mut queue) = Link::new();
    let (feed, _input, mut output) = link.open(1);
    output.write_all(&[1; QUEUE]).await.unwrap();
    output.write_all(&[1; 10]).await.unwrap();
    while queue.try_recv().is_ok() {}
    link.pace.speaks();
    let second = std::time::Duration::from_secs(1);
    assert!(tokio::time::timeout(second, output.write(b"more")).await.is_err());
    feed.state.widen(13);
    assert_eq!(output.write(b"more").await.unwrap(), 3, "10 of the 13 were sent before");
    let waiting = tokio::time::timeout(second, output.write(b"e"));
    let (late, ()) = tokio::join!(waiting, async { feed.state.reset() });
    assert_eq!(late.unwrap().unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn a_dropped_output_owes_its_end() {
    let (link, mut queue) = Link::new();
    let (_feed, _input, mut output) = link.open(9);
    output.write_all(b"last").await.unwrap();
    drop(output);
    let (due, _) = link.owed.next().await;
    assert_eq!(due[&9], Due { end: true, ..Due::default() });
    assert!(matches!(queue.try_recv().unwrap(), Piece::Data(9, bytes) if bytes == "last"));
    link.owed.finish(Parting::Done);
    link.owed.finish(Parting::Fault);
    assert_eq!(link.owed.next().await.1, Some(Parting::Done));
}
