//! A network between a peer and the coordinator: a relay for datagrams that loses, delays, repeats and swaps them.
//!
//! Each peer that sends through it gets a socket of its own towards the coordinator, as behind a NAT. What happens to a
//! datagram is drawn from the seed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::random::Random;

/// Datagrams on their way at a time; more are lost.
const DELAYED_MAX: usize = 4096;

/// What the network does with datagrams at the moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// Of a hundred.
    pub(crate) lost: u64,
    pub(crate) twice: u64,
    /// Up to so much later; with it come swaps.
    pub(crate) jitter: Duration,
    /// Nothing arrives at the coordinator.
    pub(crate) is_cut_up: bool,
    /// Nothing comes back from it.
    pub(crate) is_cut_down: bool,
    /// Larger ones are lost without a word.
    pub(crate) bytes_max: Option<usize>,
}

impl Weather {
    pub(crate) const CUT: Self = Self {
        lost: 0,
        twice: 0,
        jitter: Duration::ZERO,
        is_cut_up: true,
        is_cut_down: true,
        bytes_max: None,
    };
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    Up,
    Down,
}

#[derive(Debug)]
struct Shared {
    weather: Mutex<Weather>,
    random: Mutex<Random>,
    /// Advances with each rebinding: peers are at other ports from then on.
    generation: Mutex<u64>,
}

/// Runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Relay {
    pub(crate) async fn start(to: SocketAddr, seed: u64) -> Self {
        println!("the network's seed is {seed}");
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let shared = Arc::new(Shared {
            weather: Mutex::default(),
            random: Mutex::new(Random::new(seed)),
            generation: Mutex::new(0),
        });
        let mut tasks = JoinSet::new();
        let address = socket.local_addr().unwrap();
        tasks.spawn(relay(socket, to, Arc::clone(&shared)));
        Self {
            address,
            shared,
            _tasks: tasks,
        }
    }

    pub(crate) fn set(&self, weather: Weather) {
        *lock(&self.shared.weather) = weather;
    }

    /// The coordinator sees all peers at other ports from now on.
    pub(crate) fn rebind(&self) {
        *lock(&self.shared.generation) += 1;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// When copies of a datagram arrive; none when it is lost.
    fn arrivals(&self, direction: Direction, bytes: usize) -> Vec<Duration> {
        let (weather, mut random) = (*lock(&self.weather), lock(&self.random));
        let is_cut = match direction {
            Direction::Up => weather.is_cut_up,
            Direction::Down => weather.is_cut_down,
        };
        let is_too_large = weather.bytes_max.is_some_and(|max| bytes > max);
        if is_cut || is_too_large || random.percent(weather.lost) {
            return Vec::new();
        }
        let copies = 1 + u32::from(random.percent(weather.twice));
        let jitter = weather.jitter.as_millis() as u64;
        (0..copies).map(|_| random.millis(0, jitter)).collect()
    }
}

async fn relay(socket: Arc<UdpSocket>, to: SocketAddr, shared: Arc<Shared>) {
    let mut peers: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut returning = JoinSet::new();
    let mut late = JoinSet::new();
    let mut generation = 0;
    let mut datagram = vec![0; 65536];
    loop {
        let received = socket.recv_from(&mut datagram).await;
        while late.try_join_next().is_some() {}
        // An error is about a datagram that was sent.
        let Ok((bytes, from)) = received else {
            continue;
        };
        let now = *lock(&shared.generation);
        if now != generation {
            generation = now;
            peers.clear();
            returning.shutdown().await;
        }
        let out = match peers.get(&from) {
            Some(out) => Arc::clone(out),
            None => {
                let out = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                out.connect(to).await.unwrap();
                let out = Arc::new(out);
                peers.insert(from, Arc::clone(&out));
                let (socket, shared) = (Arc::clone(&socket), Arc::clone(&shared));
                returning.spawn(back(Arc::clone(&out), socket, from, shared));
                out
            }
        };
        for delay in shared.arrivals(Direction::Up, bytes) {
            let (out, datagram) = (Arc::clone(&out), datagram[..bytes].to_vec());
            if delay.is_zero() {
                let _ = out.send(&datagram).await;
            } else if late.len() < DELAYED_MAX {
                late.spawn(async move {
                    tokio::time::sleep(delay).await;
                    let _ = out.send(&datagram).await;
                });
            }
        }
    }
}

/// What comes back for one peer.
async fn back(out: Arc<UdpSocket>, socket: Arc<UdpSocket>, peer: SocketAddr, shared: Arc<Shared>) {
    let mut late = JoinSet::new();
    let mut datagram = vec![0; 65536];
    loop {
        let received = out.recv(&mut datagram).await;
        while late.try_join_next().is_some() {}
        let Ok(bytes) = received else {
            // Nobody listens at the moment.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        for delay in shared.arrivals(Direction::Down, bytes) {
            let (socket, datagram) = (Arc::clone(&socket), datagram[..bytes].to_vec());
            if delay.is_zero() {
                let _ = socket.send_to(&datagram, peer).await;
            } else if late.len() < DELAYED_MAX {
                late.spawn(async move {
                    tokio::time::sleep(delay).await;
                    let _ = socket.send_to(&datagram, peer).await;
                });
            }
        }
    }
}
