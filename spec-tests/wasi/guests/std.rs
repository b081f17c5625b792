//! What a program of Rust's standard library, and through it of wasi-libc, does with files.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::time::{Duration, Instant, SystemTime};

fn main() -> io::Result<()> {
    files()?;
    links()?;
    directories()?;
    refusals();
    let start = Instant::now();
    std::thread::sleep(Duration::from_millis(10));
    assert!(start.elapsed() >= Duration::from_millis(10));
    println!("{} arguments", std::env::args().count());
    Ok(())
}

fn files() -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open("/data/file")?;
    file.write_all(b"hello world")?;
    file.seek(SeekFrom::Start(6))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    assert_eq!(text, "world");
    file.set_len(5)?;
    file.sync_all()?;
    file.sync_data()?;
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    file.set_times(FileTimes::new().set_modified(time))?;
    let metadata = fs::metadata("/data/file")?;
    assert!(metadata.is_file() && metadata.len() == 5 && metadata.modified()? == time);
    OpenOptions::new().append(true).open("/data/file")?.write_all(b"!")?;
    assert_eq!(fs::read("/data/file")?, b"hello!");
    File::create("/data/file")?;
    assert_eq!(fs::read("/data/file")?, b"");
    Ok(())
}

fn links() -> io::Result<()> {
    fs::write("/data/a", b"a")?;
    fs::hard_link("/data/a", "/data/b")?;
    fs::rename("/data/b", "/data/c")?;
    assert_eq!(fs::read("/data/c")?, b"a");
    // The deprecated function is the one that makes symbolic links here.
    #[allow(deprecated)]
    fs::soft_link("c", "/data/soft")?;
    assert_eq!(fs::read_link("/data/soft")?.to_str(), Some("c"));
    assert!(fs::symlink_metadata("/data/soft")?.file_type().is_symlink());
    assert_eq!(fs::read("/data/soft")?, b"a");
    assert_eq!(fs::copy("/data/soft", "/data/copy")?, 1);
    Ok(())
}

fn directories() -> io::Result<()> {
    fs::create_dir_all("/data/x/y/z")?;
    fs::write("/data/x/y/file", b"")?;
    let mut names = Vec::new();
    for entry in fs::read_dir("/data")? {
        names.push(entry?.file_name().into_string().expect("UTF-8"));
    }
    names.sort();
    assert_eq!(names, ["a", "c", "copy", "file", "soft", "x"]);
    assert!(fs::remove_dir("/data/x").is_err());
    fs::remove_dir_all("/data/x")?;
    Ok(())
}

fn refusals() {
    for path in ["/etc/passwd", "/data/../etc/passwd", "relative"] {
        assert!(File::open(path).is_err(), "{path}");
    }
    assert_eq!(File::open("/data/missing").map_err(|error| error.kind()).err(), Some(ErrorKind::NotFound));
}
