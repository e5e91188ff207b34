//! A file that is looked at and never changed, whatever redb repairs while it looks.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

const PAGE: u64 = 4096;

/// What is written stays in memory, above a file that is only read.
#[derive(Debug)]
pub(super) struct Overlay<B>(Mutex<State<B>>);

#[derive(Debug)]
struct State<B> {
    file: Arc<B>,
    /// How much of the file counts; what is cut off once stays away.
    base: u64,
    length: u64,
    /// Pages that were written, by their number.
    pages: BTreeMap<u64, Vec<u8>>,
}

impl<B: StorageBackend> Overlay<B> {
    /// A view of this file.
    ///
    /// # Errors
    /// Its length cannot be told.
    pub(super) fn new(file: Arc<B>) -> io::Result<Self> {
        let length = file.len()?;
        Ok(Self(Mutex::new(State { file, base: length, length, pages: BTreeMap::new() })))
    }

    fn state(&self) -> MutexGuard<'_, State<B>> {
        // redb may panic on a damaged file, while it reads through another handle of this.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: StorageBackend> State<B> {
    /// A page as it is now.
    fn page(&self, number: u64) -> io::Result<Vec<u8>> {
        if let Some(page) = self.pages.get(&number) {
            return Ok(page.clone());
        }
        let mut page = vec![0; PAGE as usize];
        let from = number * PAGE;
        let readable = self.base.saturating_sub(from).min(PAGE) as usize;
        if readable > 0 {
            self.file.read(from, &mut page[..readable])?;
        }
        Ok(page)
    }

    /// The pages that these bytes are in: number, where they begin inside of it, and how many are there.
    fn parts(&self, offset: u64, length: usize) -> io::Result<Vec<(u64, usize, usize)>> {
        let end = offset.checked_add(length as u64).filter(|end| *end <= self.length);
        let end = end.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "beyond the end of the file"))?;
        let (mut at, mut parts) = (offset, Vec::new());
        while at < end {
            let (number, inside) = (at / PAGE, at % PAGE);
            let count = (PAGE - inside).min(end - at);
            parts.push((number, inside as usize, count as usize));
            at += count;
        }
        Ok(parts)
    }
}

impl<B: StorageBackend> StorageBackend for Overlay<B> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let mut out = out;
        for (number, inside, count) in state.parts(offset, out.len())? {
            let (part, rest) = out.split_at_mut(count);
            part.copy_from_slice(&state.page(number)?[inside..inside + count]);
            out = rest;
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.state();
        if length < state.length {
            state.base = state.base.min(length);
            state.pages.split_off(&length.div_ceil(PAGE));
            if let Some(last) = state.pages.get_mut(&(length / PAGE)) {
                last[(length % PAGE) as usize..].fill(0);
            }
        }
        state.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let mut data = data;
        for (number, inside, count) in state.parts(offset, data.len())? {
            let (part, rest) = data.split_at(count);
            let mut page = state.page(number)?;
            page[inside..inside + count].copy_from_slice(part);
            state.pages.insert(number, page);
            data = rest;
        }
        Ok(())
    }
}

/// One file that several look at. Whoever opened it has locked it.
#[derive(Debug)]
pub(super) struct Shared<B>(pub(super) Arc<B>);

impl<B: StorageBackend> StorageBackend for Shared<B> {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use redb::backends::FileBackend;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_the_file_stays_as_it_is() {
        let bytes: Vec<u8> = (0..10_000_u32).map(|n| n as u8).collect();
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&path, &bytes).unwrap();
        let overlay = Overlay::new(Arc::new(FileBackend::new(File::open(&path).unwrap()).unwrap())).unwrap();
        let mut wanted = bytes.clone();
        let compare = |wanted: &[u8]| {
            assert_eq!(overlay.len().unwrap(), wanted.len() as u64);
            let mut all = vec![0; wanted.len()];
            overlay.read(0, &mut all).unwrap();
            assert_eq!(all, wanted);
        };

        compare(&wanted);
        overlay.write(4000, &[0xee; 5000]).unwrap();
        wanted[4000..9000].fill(0xee);
        compare(&wanted);
        for length in [8500, 8200, 9500, 100, 20_000] {
            overlay.set_len(length).unwrap();
            wanted.resize(length as usize, 0);
            compare(&wanted);
        }

        assert!(overlay.read(19_990, &mut [0; 20]).is_err());
        assert!(overlay.write(u64::MAX, &[0; 20]).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}
