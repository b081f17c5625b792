//! Arguments, environment, clocks, random bytes and streams, granted.

use std::sync::{Arc, Mutex};

use aura_host_abi::HostError;
use aura_wasi::{AttachError, Errno, Input, Output, WasiCtx, WasiLimits};

use crate::guest::{BUFFER, Guest, OUT};

fn strings(guest: &mut Guest, family: &str) -> Vec<String> {
    guest.ok(&format!("{family}_sizes_get"), &[OUT.into(), u64::from(OUT) + 4]);
    let (count, bytes) = (guest.word(OUT), guest.word(OUT + 4));
    guest.ok(&format!("{family}_get"), &[OUT.into(), BUFFER.into()]);
    let all: Vec<String> = (0..count)
        .map(|index| {
            let at = guest.word(OUT + 4 * index) as usize;
            let len = guest.memory[at..].iter().position(|&byte| byte == 0).expect("a terminator");
            String::from_utf8(guest.memory[at..at + len].to_vec()).expect("UTF-8")
        })
        .collect();
    assert_eq!(all.iter().map(|s| s.len() + 1).sum::<usize>(), bytes as usize);
    all
}

#[test]
fn arguments_are_seen_by_grant_only() {
    let mut guest = Guest::blind();
    guest.ctx.set_args(vec!["program".into(), "ä b".into(), String::new()]).expect("arguments");
    assert!(strings(&mut guest, "args").is_empty());
    let grant = guest.grant("args");
    assert_eq!(strings(&mut guest, "args"), ["program", "ä b", ""]);
    grant.revoke();
    assert!(strings(&mut guest, "args").is_empty());
}

#[test]
fn each_variable_has_a_grant_of_its_own() {
    let mut guest = Guest::with(&["env=A=1", "env=B=x=y"]);
    let later = guest.grant("env=A=2");
    assert_eq!(strings(&mut guest, "environ"), ["B=x=y", "A=2"]);
    later.revoke();
    assert_eq!(strings(&mut guest, "environ"), ["A=1", "B=x=y"]);
    let path = Guest::with(&["env=PATH"]);
    assert!(strings(&mut { path }, "environ")[0].starts_with("PATH=/"));
}

#[test]
fn wrong_strings_are_refused() {
    let attach = |ctx: &mut WasiCtx, grant: &str| {
        ctx.attach(Arc::new(aura_host_abi::Capability::new(grant.parse().expect("a grant"))))
    };
    let mut ctx = WasiCtx::new();
    assert!(matches!(attach(&mut ctx, "env=NOT_SET_ANYWHERE"), Err(AttachError::VariableNotSet(_))));
    assert!(matches!(attach(&mut ctx, "call:f"), Err(AttachError::NotWasi(_))));
    assert!(matches!(ctx.set_args(vec!["a\0b".into()]), Err(AttachError::Nul(_))));
    ctx.set_limits(WasiLimits { strings_bytes_max: 8, ..WasiLimits::default() });
    assert!(ctx.set_args(vec!["1234567".into()]).is_ok());
    assert!(matches!(ctx.set_args(vec!["12345678".into()]), Err(AttachError::StringsTooLong { .. })));
    assert!(matches!(attach(&mut ctx, "env=ABCD=EFG"), Err(AttachError::StringsTooLong { .. })));
    assert!(attach(&mut ctx, "env=ABC=EFG").is_ok());
}

#[test]
fn all_four_clocks_run() {
    let mut guest = Guest::with(&["clock"]);
    for id in 0..4 {
        guest.ok("clock_res_get", &[id, OUT.into()]);
        assert!((1..=1_000_000_000).contains(&guest.long(OUT)), "clock {id}");
        guest.ok("clock_time_get", &[id, 0, OUT.into()]);
        let first = guest.long(OUT);
        guest.ok("clock_time_get", &[id, 0, OUT.into()]);
        assert!(guest.long(OUT) >= first && first > 0, "clock {id}");
    }
    assert_eq!(guest.call("clock_time_get", &[4, 0, OUT.into()]), Errno::INVAL);
    assert_eq!(guest.call("clock_res_get", &[u64::from(u32::MAX), OUT.into()]), Errno::INVAL);
    assert_eq!(guest.call("clock_time_get", &[0, 0, guest.memory.len() as u64 - 7]), Errno::FAULT);
}

#[test]
fn random_bytes_fill_the_whole_buffer_and_no_more() {
    let mut guest = Guest::with(&["random"]);
    let len = 100_000;
    guest.ok("random_get", &[BUFFER.into(), len]);
    let end = BUFFER as usize + len as usize;
    assert!(guest.memory[end - 64..end].iter().any(|&byte| byte != 0));
    assert!(guest.memory[end..].iter().all(|&byte| byte == 0));
    assert_eq!(guest.call("random_get", &[BUFFER.into(), u64::from(u32::MAX)]), Errno::FAULT);
    assert_eq!(guest.call("random_get", &[guest.memory.len() as u64, 0]), Errno::SUCCESS);
}

#[test]
fn streams_are_read_and_written() {
    let mut guest = Guest::with(&["stdio"]);
    let (out, err) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
    guest.ctx.set_stdin(Input::Bytes(b"hello world".to_vec()));
    guest.ctx.set_stdout(Output::Capture(Arc::clone(&out)));
    guest.ctx.set_stderr(Output::Capture(Arc::clone(&err)));
    assert_eq!(guest.read(0, 5).expect("input"), b"hello");
    assert_eq!(guest.read(0, 100).expect("input"), b" world");
    assert_eq!(guest.read(0, 100).expect("input"), b"");
    guest.put(BUFFER, b"abcdef");
    let [list, count] = guest.pieces(&[(BUFFER + 4, 2), (BUFFER, 0), (BUFFER, 2)]);
    guest.ok("fd_write", &[1, list, count, OUT.into()]);
    assert_eq!(guest.word(OUT), 4);
    assert_eq!(guest.write(2, b"!"), Ok(1));
    assert_eq!((&out.lock().expect("out")[..], &err.lock().expect("err")[..]), (&b"efab"[..], &b"!"[..]));
    assert_eq!(guest.write(0, b"x"), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.read(1, 1), Err(Errno::NOTCAPABLE));
    assert_eq!(guest.call("fd_seek", &[1, 0, 1, OUT.into()]), Errno::SPIPE);
    assert_eq!(guest.call("fd_pread", &[0, list, count, 0, OUT.into()]), Errno::SPIPE);
}

#[test]
fn streams_of_the_embedder_work() {
    let mut guest = Guest::with(&["stdio"]);
    guest.ctx.set_stdin(Input::Reader(Box::new(std::io::Cursor::new(b"abc".to_vec()))));
    guest.ctx.set_stdout(Output::Writer(Box::new(std::io::sink())));
    guest.ctx.set_stderr(Output::Null);
    assert_eq!(guest.read(0, 9).expect("input"), b"abc");
    assert_eq!((guest.write(1, b"abc"), guest.write(2, b"ab")), (Ok(3), Ok(2)));
    assert_eq!(guest.fdstat(1).map(|stat| stat.0), Ok(0));
}

/// HOSTILE 1b, GHSA-852m and its kin: captured output has a limit, and a call moves a bounded amount.
#[test]
fn ghsa_852m_output_is_bounded() {
    let mut guest = Guest::with(&["stdio"]);
    let out = Arc::new(Mutex::new(Vec::new()));
    guest.ctx.set_stdout(Output::Capture(Arc::clone(&out)));
    guest.ctx.set_limits(WasiLimits { capture_bytes_max: 10, call_bytes_max: 6, ..WasiLimits::default() });
    assert_eq!(guest.write(1, b"12345678"), Ok(6));
    assert_eq!(guest.write(1, b"12345678"), Ok(4));
    assert_eq!(guest.write(1, b"1"), Err(Errno::NOSPC));
    for _ in 0..100_000 {
        assert_eq!(guest.write(1, b""), Ok(0));
    }
    assert_eq!(out.lock().expect("out").len(), 10);
}

/// A signal does what it does to a program without handlers, and ends it as a shell reports it.
#[test]
fn signals_end_the_program_or_do_nothing() {
    let mut guest = Guest::with(&["clock"]);
    for signal in 0..=40 {
        let result = guest.try_call("proc_raise", &[signal]);
        match signal {
            0 | 16 | 17 | 22 | 27 => assert!(matches!(result, Ok(Errno::SUCCESS)), "{signal}"),
            18..=21 => assert!(matches!(result, Ok(Errno::NOTSUP)), "{signal}"),
            31.. => assert!(matches!(result, Ok(Errno::INVAL)), "{signal}"),
            _ => assert!(matches!(result, Err(HostError::Exit(code)) if code == 128 + signal as i32), "{signal}"),
        }
    }
}
