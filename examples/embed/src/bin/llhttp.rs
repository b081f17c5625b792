//! llhttp, the HTTP parser of Node.js, as a guest: a freestanding module that calls the host back
//! for each thing it finds.
//!
//!     llhttp [--engine interpreter|jit|auto] MODULE.wasm
//!
//! MODULE is `lib/llhttp/llhttp.wasm` (or `llhttp_simd.wasm`) of the npm package `undici` 5.29.0;
//! `examples/real-programs/run.sh` fetches it.

use std::error::Error as StdError;
use std::process::ExitCode;

use aura_runtime::{Caller, Config, Engine, Error, Extern, Instance, Linker, Memory, Module, Store, Strategy};

/// A pipelined exchange in one buffer: chunked and plain bodies, then a broken response.
const RESPONSES: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Content-Type: text/plain\r\n\
    Transfer-Encoding: chunked\r\n\
    \r\n\
    6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n\
    HTTP/1.1 404 Not Found\r\n\
    Content-Length: 9\r\n\
    X-Empty:\r\n\
    \r\n\
    not here!\
    HTTP/1.1 abc\r\n\r\n";

/// llhttp's number for a parser of responses.
const TYPE_RESPONSE: u32 = 2;

/// What the parser told, in order.
#[derive(Default)]
struct Parsed {
    events: Vec<String>,
}

fn main() -> ExitCode {
    match arguments().and_then(|(strategy, path)| parse(strategy, &path)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("llhttp: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<(Strategy, String), Box<dyn StdError>> {
    let mut strategy = Strategy::Auto;
    let mut path = None;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--engine" => strategy = strategy_of(&args.next().unwrap_or_default())?,
            _ => path = Some(arg),
        }
    }
    Ok((strategy, path.ok_or("usage: llhttp [--engine interpreter|jit|auto] MODULE.wasm")?))
}

fn strategy_of(name: &str) -> Result<Strategy, String> {
    match name {
        "interpreter" => Ok(Strategy::Interpreter),
        "jit" => Ok(Strategy::Jit),
        "auto" => Ok(Strategy::Auto),
        _ => Err(format!("`{name}` is no engine; there are interpreter, jit and auto")),
    }
}

fn parse(strategy: Strategy, path: &str) -> Result<(), Box<dyn StdError>> {
    let mut config = Config::new();
    config.strategy(strategy);
    let engine = Engine::new(&config)?;
    let module = Module::from_file(&engine, path)?;
    let mut linker = Linker::new(&engine);
    link_callbacks(&mut linker)?;
    let mut store = Store::new(&engine, Parsed::default());
    let instance = linker.instantiate(&mut store, &module)?;
    instance.get_typed_func::<(), ()>(&mut store, "_initialize")?.call(&mut store, ())?;

    let end = execute(&mut store, &instance, RESPONSES)?;
    for event in &store.data().events {
        println!("{event}");
    }
    println!("{end}");
    Ok(())
}

/// The eight functions that llhttp calls: events with and without a piece of the input.
fn link_callbacks(linker: &mut Linker<Parsed>) -> Result<(), Error> {
    for (name, event) in [
        ("wasm_on_url", "url"),
        ("wasm_on_status", "status"),
        ("wasm_on_header_field", "header field"),
        ("wasm_on_header_value", "header value"),
        ("wasm_on_body", "body"),
    ] {
        linker.func_wrap("env", name, move |mut caller: Caller<'_, Parsed>, _parser: u32, at: u32, length: u32| {
            let piece =
                memory_of(&mut caller)?.data(&caller).get(at as usize..).and_then(|rest| rest.get(..length as usize));
            let piece = piece.ok_or_else(|| Error::host("llhttp named a piece outside of its memory"))?;
            let event = format!("{event}: {}", String::from_utf8_lossy(piece));
            caller.data_mut().events.push(event);
            Ok::<u32, Error>(0)
        })?;
    }
    for (name, event) in [("wasm_on_message_begin", "message begins"), ("wasm_on_message_complete", "message complete")]
    {
        linker.func_wrap("env", name, move |mut caller: Caller<'_, Parsed>, _parser: u32| -> u32 {
            caller.data_mut().events.push(event.to_owned());
            0
        })?;
    }
    linker.func_wrap("env", "wasm_on_headers_complete", headers_complete)?;
    Ok(())
}

fn headers_complete(mut caller: Caller<'_, Parsed>, _parser: u32, status: u32, upgrade: u32, keep_alive: u32) -> u32 {
    let event = format!("headers complete: status {status}, upgrade {upgrade}, keep alive {keep_alive}");
    caller.data_mut().events.push(event);
    0
}

fn memory_of(caller: &mut Caller<'_, Parsed>) -> Result<Memory, Error> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory),
        _ => Err(Error::host("the module exports no memory")),
    }
}

/// Lets the parser read `input`, and says how that ended.
fn execute(store: &mut Store<Parsed>, instance: &Instance, input: &[u8]) -> Result<String, Error> {
    let new_parser = instance.get_typed_func::<u32, u32>(&mut *store, "llhttp_alloc")?;
    let malloc = instance.get_typed_func::<u32, u32>(&mut *store, "malloc")?;
    let run = instance.get_typed_func::<(u32, u32, u32), u32>(&mut *store, "llhttp_execute")?;
    let position = instance.get_typed_func::<u32, u32>(&mut *store, "llhttp_get_error_pos")?;
    let reason = instance.get_typed_func::<u32, u32>(&mut *store, "llhttp_get_error_reason")?;
    let memory = instance.get_memory(&mut *store, "memory").ok_or_else(|| Error::host("no memory"))?;

    let parser = new_parser.call(&mut *store, TYPE_RESPONSE)?;
    let buffer = malloc.call(&mut *store, input.len() as u32)?;
    memory.write(&mut *store, buffer as usize, input)?;
    let code = run.call(&mut *store, (parser, buffer, input.len() as u32))?;
    if code == 0 {
        return Ok("parsed to the end".to_owned());
    }
    let offset = position.call(&mut *store, parser)?.wrapping_sub(buffer);
    let reason = reason.call(&mut *store, parser)?;
    Ok(format!("error {code} at byte {offset}: {}", c_string(memory.data(&*store), reason)))
}

/// The text that ends with a NUL at `address`.
fn c_string(memory: &[u8], address: u32) -> String {
    let text = memory.get(address as usize..).unwrap_or_default();
    String::from_utf8_lossy(text.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned()
}
