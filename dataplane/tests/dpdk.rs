//! Ports on real DPDK software devices. No root, no hugepages, no NIC.
//!
//! EAL starts once in a process, so each test needs its own: run them with `cargo nextest run`.
#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, reason = "helpers of tests may fail like tests")]

use std::time::{Duration, Instant};

use dataplane::ports::dpdk::{
    CableConfig, DpdkQueue, Eal, EalConfig, EalError, Ends, LaunchError, Level, Mbuf, Mempool, PoolConfig,
    PoolError, Port, PortConfig, PortError, cable, free_bulk,
};
use dataplane::ports::{BURST, Burst, NoRoom, Packet, Queue};

fn config(args: &[&str], workers: usize) -> EalConfig {
    EalConfig {
        main_cpus: vec![0],
        worker_cpus: vec![0; workers],
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        pci_devices: Vec::new(),
    }
}

fn eal(workers: usize) -> Eal {
    Eal::init(&config(&["--no-huge", "-m", "64"], workers)).unwrap()
}

fn pool(eal: &Eal) -> Mempool {
    Mempool::new(eal, &PoolConfig { mbufs: 4095, ..PoolConfig::default() }).unwrap()
}

fn lay(eal: &Eal, pool: &Mempool, queues: u16, ring: u16) -> (Ends, Ends) {
    cable(eal, &CableConfig { queues, ring, ..CableConfig::default() }, pool).unwrap()
}

/// A frame whose bytes tell which it is.
fn frame(queue: &mut DpdkQueue, number: usize, len: usize) -> Mbuf {
    let mut mbuf = queue.allocate().unwrap();
    mbuf.append(len).unwrap();
    for (index, byte) in mbuf.data_mut().iter_mut().enumerate() {
        *byte = (number + index) as u8;
    }
    mbuf
}

fn is_frame(mbuf: &Mbuf, number: usize, len: usize) -> bool {
    mbuf.len() == len && mbuf.data().iter().enumerate().all(|(index, &byte)| byte == (number + index) as u8)
}

fn pass_twenty(from: &mut DpdkQueue, to: &mut DpdkQueue) {
    let mut burst: Burst<Mbuf> = (0..20).map(|n| frame(from, n, 60 + n)).collect();
    from.transmit(&mut burst);
    assert!(burst.is_empty());
    to.receive(&mut burst);
    assert_eq!(burst.len(), 20);
    assert!(burst.iter().enumerate().all(|(n, mbuf)| is_frame(mbuf, n, 60 + n)));
}

/// An error as the operator sees it: what is wrong, why, and what to do.
fn assert_tells(error: &PortError, remedy: String, words: &[&str]) {
    let text = format!("{error}\n{remedy}");
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
    assert!(!remedy.is_empty() && !text.trim().contains("\n\n"), "{text}");
}

#[test]
fn frames_cross_a_cable_on_each_queue_in_both_directions() {
    let eal = eal(0);
    let pool = pool(&eal);
    let ((a, mut at_a), (b, mut at_b)) = lay(&eal, &pool, 2, 256);
    assert_eq!((a.queues(), at_a.len(), at_b.len()), (2, 2, 2));
    assert_ne!(a.mac(), b.mac());
    assert!(a.link().up && b.link().up);
    for queue_id in 0..2 {
        pass_twenty(&mut at_a[queue_id], &mut at_b[queue_id]);
        pass_twenty(&mut at_b[queue_id], &mut at_a[queue_id]);
        // What went over one queue does not show up on the other.
        let mut burst = Burst::new();
        at_a[1 - queue_id].receive(&mut burst);
        at_b[1 - queue_id].receive(&mut burst);
        assert!(burst.is_empty());
    }
    assert_eq!((a.stats().opackets, a.stats().ipackets), (40, 40));
    assert_eq!((b.stats().opackets, b.stats().ipackets), (40, 40));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn receive_fills_a_burst_up_and_no_further() {
    let eal = eal(0);
    let pool = pool(&eal);
    let ((_a, mut at_a), (_b, mut at_b)) = lay(&eal, &pool, 1, 256);
    let mut burst: Burst<Mbuf> = (0..BURST).map(|n| frame(&mut at_a[0], n, 60)).collect();
    at_a[0].transmit(&mut burst);
    let mut burst: Burst<Mbuf> = (100..103).map(|n| frame(&mut at_b[0], n, 60)).collect();
    at_b[0].receive(&mut burst);
    assert_eq!(burst.len(), BURST);
    let expected = (100..103).chain(0..BURST - 3);
    assert!(burst.iter().zip(expected).all(|(mbuf, n)| is_frame(mbuf, n, 60)));
    burst.clear();
    at_b[0].receive(&mut burst);
    assert!(burst.iter().zip(BURST - 3..).all(|(mbuf, n)| is_frame(mbuf, n, 60)));
    assert_eq!(burst.len(), 3);
}

#[test]
fn rejected_mbufs_come_back_in_order() {
    let eal = eal(0);
    let pool = pool(&eal);
    let ((a, mut at_a), (_b, mut at_b)) = lay(&eal, &pool, 1, 16);
    let mut burst: Burst<Mbuf> = (0..20).map(|n| frame(&mut at_a[0], n, 60)).collect();
    at_a[0].transmit(&mut burst);
    assert_eq!(burst.len(), 5, "a ring of 16 holds 15");
    assert!(burst.iter().zip(15..).all(|(mbuf, n)| is_frame(mbuf, n, 60)));
    // A full ring takes nothing and the burst stays as it is.
    at_a[0].transmit(&mut burst);
    assert!(burst.iter().zip(15..).all(|(mbuf, n)| is_frame(mbuf, n, 60)));
    assert_eq!((burst.len(), a.stats().opackets, pool.in_use()), (5, 15, 20));
    let mut received = Burst::new();
    at_b[0].receive(&mut received);
    at_a[0].transmit(&mut burst);
    at_b[0].receive(&mut received);
    assert!(burst.is_empty());
    assert!(received.iter().enumerate().all(|(n, mbuf)| is_frame(mbuf, n, 60)));
    assert_eq!(received.len(), 20);
    drop(received);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn every_mbuf_returns_to_its_pool() {
    let eal = eal(0);
    let pools = [pool(&eal), pool(&eal)];
    let mut burst = Burst::new();
    // One by one, all of a burst, and a burst of two pools.
    drop(pools[0].alloc().unwrap());
    assert!(pools[0].alloc_bulk(&mut burst, BURST));
    assert_eq!((burst.len(), pools[0].in_use()), (BURST, BURST as u32));
    burst.clear();
    assert_eq!(pools[0].in_use(), 0);
    for n in 0..BURST {
        assert!(pools[n / 5 % 2].alloc_bulk(&mut burst, 1));
    }
    assert!(pools[0].alloc_bulk(&mut burst, 1), "a full burst needs none");
    assert_eq!(pools[0].in_use() + pools[1].in_use(), BURST as u32);
    free_bulk(&mut burst);
    assert!(burst.is_empty());
    assert_eq!((pools[0].in_use(), pools[1].in_use()), (0, 0));
    // Those that lie in a cable when it is closed.
    let ((a, mut at_a), (b, mut at_b)) = lay(&eal, &pools[0], 2, 64);
    for queues in [&mut at_a, &mut at_b] {
        let mut burst: Burst<Mbuf> = (0..7).map(|n| frame(&mut queues[1], n, 60)).collect();
        queues[1].transmit(&mut burst);
    }
    assert_eq!(pools[0].in_use(), 14);
    drop((a, at_a, b));
    assert_eq!(pools[0].in_use(), 14, "a queue is left");
    drop(at_b);
    assert_eq!(pools[0].in_use(), 0);
}

#[test]
fn pool_gives_all_it_has_and_then_none() {
    let eal = eal(0);
    // Larger and smaller than a cache, and smaller than a burst.
    for mbufs in [1023, 300, 64, 16, 1] {
        let pool = Mempool::new(&eal, &PoolConfig { mbufs, ..PoolConfig::default() }).unwrap();
        for _ in 0..3 {
            let mut held: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
            assert_eq!((held.len(), pool.in_use()), (mbufs as usize, mbufs));
            let mut burst = Burst::new();
            assert!(!pool.alloc_bulk(&mut burst, 1) && burst.is_empty());
            // Each is another buffer.
            held.iter_mut().enumerate().for_each(|(n, mbuf)| {
                mbuf.append(2).unwrap();
                mbuf.data_mut().copy_from_slice(&(n as u16).to_ne_bytes());
            });
            assert!(held.iter().enumerate().all(|(n, mbuf)| mbuf.data() == (n as u16).to_ne_bytes()));
            while !held.is_empty() {
                burst.extend(held.drain(..held.len().min(BURST)));
                free_bulk(&mut burst);
            }
            assert_eq!(pool.in_use(), 0);
        }
    }
}

#[test]
fn threads_without_a_cache_share_the_pool() {
    let eal = eal(0);
    let pool = pool(&eal);
    let churn = |seed: usize| {
        for round in 0..2000 {
            let mut burst = Burst::new();
            assert!(pool.alloc_bulk(&mut burst, (seed * 7 + round) % BURST + 1));
            for mbuf in &mut burst {
                mbuf.append(8).unwrap();
                mbuf.data_mut().copy_from_slice(&seed.to_ne_bytes());
            }
            assert!(burst.iter().all(|mbuf| mbuf.data() == seed.to_ne_bytes()));
            if round % 2 == 0 {
                free_bulk(&mut burst);
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| churn(1));
        scope.spawn(|| churn(2));
        scope.spawn(|| {
            let _registered = eal.register_thread().unwrap();
            let _again = eal.register_thread().unwrap();
            churn(3);
        });
        churn(4);
    });
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn mbuf_grows_and_shrinks_within_its_room() {
    let eal = eal(0);
    let pool = pool(&eal);
    let mut mbuf = pool.alloc().unwrap();
    assert!(mbuf.is_empty());
    assert_eq!((mbuf.headroom(), mbuf.tailroom(), mbuf.segments()), (128, 2048, 1));
    mbuf.append(3).unwrap();
    mbuf.data_mut().copy_from_slice(b"abc");
    mbuf.prepend(2).unwrap();
    mbuf.data_mut()[..2].copy_from_slice(b"xy");
    assert_eq!(mbuf.data(), b"xyabc");
    assert_eq!(mbuf.prepend(127), Err(NoRoom));
    mbuf.prepend(126).unwrap();
    assert_eq!(mbuf.prepend(1), Err(NoRoom));
    mbuf.trim_front(126 + 3).unwrap();
    assert_eq!(mbuf.data(), b"bc");
    assert_eq!(mbuf.trim_front(3), Err(NoRoom));
    assert_eq!(mbuf.trim_front(usize::MAX), Err(NoRoom));
    mbuf.truncate(5);
    assert_eq!(mbuf.len(), 2);
    mbuf.truncate(1);
    assert_eq!((mbuf.data(), mbuf.len()), (b"b".as_slice(), 1));
    assert_eq!(mbuf.append(2047), Err(NoRoom));
    assert_eq!(mbuf.append(usize::MAX), Err(NoRoom));
    mbuf.append(2046).unwrap();
    assert_eq!((mbuf.tailroom(), mbuf.len()), (0, 2047));
    // Back in the pool and out again it is as new.
    drop(mbuf);
    let mbuf = pool.alloc().unwrap();
    assert_eq!((mbuf.headroom(), mbuf.len()), (128, 0));
}

#[test]
fn null_port_receives_and_transmits() {
    let eal = eal(0);
    let pool = pool(&eal);
    let mac = Some([2, 0, 0, 0, 0, 9]);
    let config = PortConfig { queues: 2, mac, rx_ring: 200, ..PortConfig::new("net_null0,size=96") };
    let (port, mut queues) = Port::open(&eal, &config, &pool).unwrap();
    assert_eq!((port.driver(), port.device()), ("net_null", "net_null0,size=96"));
    assert_eq!((Some(port.mac()), port.mtu(), port.link().up), (mac, 1500, true));
    assert!(port.capabilities().promiscuous);
    let before = pool.in_use();
    for _ in 0..100 {
        for queue in &mut queues {
            let mut burst = Burst::new();
            queue.receive(&mut burst);
            assert!(burst.is_full() && burst.iter().all(|mbuf| mbuf.len() == 96));
            queue.transmit(&mut burst);
            assert!(burst.is_empty());
        }
    }
    let (stats, all) = (port.stats(), 2 * 100 * BURST as u64);
    assert_eq!((stats.ipackets, stats.opackets), (all, all));
    assert_eq!(pool.in_use(), before);
}

#[test]
fn mtu_beyond_a_buffer_needs_a_port_that_uses_several() {
    let eal = eal(0);
    let pool = pool(&eal);
    for (mtu, scatter) in [(1500, false), (9000, true)] {
        let config = CableConfig { mtu, ..CableConfig::default() };
        let ((a, _), (b, _)) = cable(&eal, &config, &pool).unwrap();
        assert_eq!((a.mtu(), a.capabilities().scatter, b.capabilities().scatter), (mtu, scatter, scatter));
    }
    let config = PortConfig { mtu: 9000, ..PortConfig::new("net_null0") };
    let error = Port::open(&eal, &config, &pool).unwrap_err();
    assert!(matches!(error, PortError::Mtu { asked: 9000, .. }), "{error:?}");
    assert_tells(&error, error.remedy(), &["2048", "1500"]);
}

#[test]
fn closed_device_opens_again_and_open_device_does_not() {
    let eal = eal(0);
    let pool = pool(&eal);
    let config = PortConfig::new("net_null0");
    let (port, queues) = Port::open(&eal, &config, &pool).unwrap();
    drop(port);
    let error = Port::open(&eal, &config, &pool).unwrap_err();
    assert!(matches!(error, PortError::InUse { .. }), "{error:?}: a queue keeps the port open");
    assert_tells(&error, error.remedy(), &["net_null0", "[[port]]"]);
    drop(queues);
    Port::open(&eal, &config, &pool).unwrap();
}

#[test]
fn device_from_the_eal_arguments_is_used() {
    let config = config(&["--no-huge", "-m", "64", "--vdev", "net_null7,size=80"], 0);
    let eal = Eal::init(&config).unwrap();
    let (_port, mut queues) = Port::open(&eal, &PortConfig::new("net_null7"), &pool(&eal)).unwrap();
    let mut burst = Burst::new();
    queues[0].receive(&mut burst);
    assert!(burst.iter().all(|mbuf| mbuf.len() == 80));
}

#[test]
fn ports_that_cannot_be_opened_say_why() {
    let pci_devices = vec!["0000:7f:1f.7".to_owned()];
    let eal = Eal::init(&EalConfig { pci_devices, ..config(&["--no-huge", "-m", "64"], 0) }).unwrap();
    let pool = pool(&eal);
    let open = |config: &PortConfig| {
        let error = Port::open(&eal, config, &pool).unwrap_err();
        let remedy = error.remedy();
        (error, remedy)
    };
    let (error, remedy) = open(&PortConfig::new("0000:7f:1f.7"));
    assert!(matches!(error, PortError::NoDevice { .. }), "{error:?}");
    assert_tells(&error, remedy, &["0000:7f:1f.7", "Cannot find device", "lspci"]);

    for device in ["net_nosuch0", "bogus", "", "two words"] {
        let (error, remedy) = open(&PortConfig::new(device));
        assert!(matches!(error, PortError::NoDevice { .. }), "{error:?}");
        assert_tells(&error, remedy, &[device, "net_af_packet0,iface=eth0"]);
    }
    let (error, remedy) = open(&PortConfig::new("net_af_packet0,iface=nosuch0"));
    assert!(
        matches!(&error, PortError::NoInterface { interface, .. } if interface == "nosuch0"),
        "{error:?}"
    );
    assert_tells(&error, remedy, &["nosuch0", "ip link"]);

    let (error, remedy) = open(&PortConfig::new("net_pcap0,rx_pcap=/nosuch.pcap"));
    assert!(matches!(error, PortError::Driver { .. }), "{error:?}");
    assert_tells(&error, remedy, &["/nosuch.pcap", "No such file"]);

    let (error, remedy) = open(&PortConfig { queues: 17, ..PortConfig::new("net_ring0") });
    assert!(matches!(error, PortError::TooManyQueues { asked: 17, most: 16, .. }), "{error:?}");
    assert_tells(&error, remedy, &["queues = 16"]);

    let (error, remedy) = open(&PortConfig { mtu: 40, ..PortConfig::new("net_null0") });
    assert!(matches!(error, PortError::Mtu { asked: 40, .. }), "{error:?}");
    assert_tells(&error, remedy, &["40", "1500"]);

    let laid = cable(&eal, &CableConfig { ring: 1000, ..CableConfig::default() }, &pool).unwrap_err();
    assert!(matches!(laid, PortError::Arguments { .. }), "{laid:?}");
    let laid = cable(&eal, &CableConfig { queues: 17, ..CableConfig::default() }, &pool).unwrap_err();
    assert!(matches!(laid, PortError::TooManyQueues { .. }), "{laid:?}");

    // What failed left nothing behind, and what DPDK said of it is there to be logged.
    Port::open(&eal, &PortConfig::new("net_null0"), &pool).unwrap();
    let log = eal.take_log();
    assert!(
        log.iter().any(|line| line.level == Level::Error && line.text.contains("net_af_packet0")),
        "{log:?}"
    );
    assert!(eal.take_log().is_empty());
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn pool_that_does_not_fit_says_how_much_it_needs() {
    let eal = Eal::init(&config(&["--no-huge", "-m", "16"], 0)).unwrap();
    let error = Mempool::new(&eal, &PoolConfig { mbufs: 65535, ..PoolConfig::default() }).unwrap_err();
    assert!(matches!(error, PoolError::NoMemory { mbufs: 65535, mebibytes: 256, .. }), "{error:?}");
    assert!(error.remedy().contains("-m") && error.remedy().contains("nr_hugepages"), "{}", error.remedy());
    Mempool::new(&eal, &PoolConfig { mbufs: 1023, ..PoolConfig::default() }).unwrap();
}

#[test]
fn memory_that_the_machine_has_not_is_refused() {
    let error = Eal::init(&config(&["--no-huge", "-m", "99999999"], 0)).unwrap_err();
    assert!(matches!(error, EalError::NoMemory { .. }), "{error:?}");
    assert!(error.remedy().contains("nr_hugepages") && error.remedy().contains("--no-huge"));
}

#[test]
fn hugepages_that_are_not_there_are_named() {
    let reserved = std::fs::read_to_string("/proc/sys/vm/nr_hugepages").unwrap_or_default();
    if reserved.trim() != "0" {
        eprintln!("skipped: this machine has hugepages");
        return;
    }
    let error = Eal::init(&config(&[], 0)).unwrap_err();
    assert!(matches!(error, EalError::NoMemory { .. }), "{error:?}");
    assert!(error.to_string().contains("hugepage"), "{error}");
    assert!(error.remedy().contains("nr_hugepages") && error.remedy().contains("--no-huge"));
}

#[test]
fn wrong_eal_argument_is_named() {
    let error = Eal::init(&config(&["--no-huge", "--bogus"], 0)).unwrap_err();
    assert!(matches!(error, EalError::Arguments { .. }), "{error:?}");
    assert!(error.to_string().contains("'--bogus'"), "{error}");
    assert!(error.remedy().contains("[eal] args"));
}

#[test]
fn second_init_is_refused() {
    let eal = eal(0);
    assert_eq!(Eal::init(&config(&["--no-huge"], 0)).unwrap_err(), EalError::AlreadyInitialised);
    // The first goes on.
    drop(pool(&eal).alloc().unwrap());
}

#[test]
fn workers_run_closures_and_give_back_what_they_return() {
    let eal = eal(2);
    let pool = pool(&eal);
    assert_eq!(eal.workers(), 2);
    let ((_a, mut at_a), (_b, mut at_b)) = lay(&eal, &pool, 1, 256);
    let (mut tx, mut rx) = (at_a.remove(0), at_b.remove(0));
    let sender = eal.launch(0, move || {
        let mut sent = 0;
        while sent < 5000 {
            let mut burst: Burst<Mbuf> = (sent..(sent + 25)).map(|n| frame(&mut tx, n, 64)).collect();
            while !burst.is_empty() {
                tx.transmit(&mut burst);
                std::thread::yield_now();
            }
            sent += 25;
        }
        tx
    });
    let receiver = eal.launch(1, move || {
        let mut received = 0;
        let give_up = Instant::now() + Duration::from_secs(20);
        while received < 5000 && Instant::now() < give_up {
            let mut burst = Burst::new();
            rx.receive(&mut burst);
            for mbuf in &burst {
                assert!(is_frame(mbuf, received, 64), "in order and intact");
                received += 1;
            }
            std::thread::yield_now();
        }
        (rx, received)
    });
    let _tx = sender.unwrap().join().unwrap();
    let (_rx, received) = receiver.unwrap().join().unwrap();
    assert_eq!((received, pool.in_use()), (5000, 0));
    assert_eq!(eal.numa_node(1), Some(0));
    assert_eq!(eal.numa_node(2), None);
}

#[test]
fn panic_on_a_worker_comes_back_as_an_error() {
    let eal = eal(1);
    let panic = eal.launch(0, || -> u32 { panic!("number {}", 7) }).unwrap().join().unwrap_err();
    assert_eq!((panic.worker, panic.message.as_str()), (0, "number 7"));
    // The worker is none the worse for it.
    assert_eq!(eal.launch(0, || 42).unwrap().join(), Ok(42));
}

#[test]
fn busy_and_absent_workers_are_refused() {
    let eal = eal(1);
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let first = eal.launch(0, move || wait.recv().is_ok()).unwrap();
    assert_eq!(eal.launch(0, || ()).unwrap_err(), LaunchError::Busy { worker: 0 });
    assert_eq!(eal.launch(1, || ()).unwrap_err(), LaunchError::NoSuchWorker { worker: 1, workers: 1 });
    let first = first.try_join().unwrap_err();
    go.send(()).unwrap();
    assert_eq!(first.join(), Ok(true));
}

#[test]
fn types_say_who_may_use_what() {
    fn sent<T: Send>() {}
    fn shared<T: Sync>() {}
    sent::<Mbuf>();
    sent::<DpdkQueue>();
    sent::<Port>();
    sent::<Mempool>();
    shared::<Eal>();
    shared::<Port>();
    shared::<Mempool>();
}
