//! The end of every case: the ring is used again, and the ledgers are judged.

use super::{SOON, Seat, Stage};
use crate::checker::{Reader, Summary, check};
use crate::{Actor, Ledger};

impl Stage {
    /// Uses the ring again with all parties: two laps, then its end. A missing party comes back or is replaced.
    pub(crate) fn finish(&mut self) {
        if self.tx.is_none() {
            self.succeed();
        }
        let is_here = |seat: &&Seat| seat.ring == self.ring && seat.is_durable && !seat.is_gone;
        for fresh in ["fresh", "fresher"]
            .iter()
            .skip(self.seats.iter().filter(is_here).count())
        {
            self.seat(fresh, true);
        }
        self.attach_all();
        for seat in self.present() {
            seat.tell(&format!("drain {SOON}"));
        }
        let n = 2 * self.capacity;
        self.publish(n);
        let mut tx = self.tx.take().expect("a producer");
        tx.ok("close");
        let last = self.last;
        for seat in self.present() {
            let reply = seat.collect();
            assert_eq!(
                reply.word("end"),
                "Closed",
                "{}: {}",
                seat.name,
                reply.text()
            );
            assert_eq!(seat.next, last + 1, "{} saw everything", seat.name);
        }
        let mut leaving: Vec<Actor> = self
            .present()
            .filter_map(|seat| seat.actor.take())
            .collect();
        leaving.push(tx);
        leaving.iter_mut().for_each(Actor::end_input);
        leaving.into_iter().for_each(Actor::leave);
        assert!(!self.world.is_named(), "the name is gone");
    }

    /// Judges the ledgers, ring by ring.
    pub(crate) fn judge(self) -> Result<Summary, String> {
        let mut sum = Summary::default();
        for ring in 0..=self.ring {
            let of_ring = |writer: &usize| self.writers[*writer - 1] == ring;
            let producers: Vec<_> = (1..=self.writers.len())
                .filter(of_ring)
                .map(|writer| Ledger::read(&self.world.ledger(&format!("writer-{writer}"))))
                .collect();
            let seats = self.seats.iter().filter(|seat| seat.ring == ring);
            let readers: Vec<_> = seats.map(|seat| self.reader(seat)).collect();
            sum += check(&producers, &readers).map_err(|faults| faults.join("; "))?;
        }
        match sum.events {
            0 => Err(String::from("nobody saw anything")),
            _ => Ok(sum),
        }
    }

    fn reader(&self, seat: &Seat) -> Reader {
        let mut entries = Ledger::read(&self.world.ledger(&format!("{}-{}", seat.ring, seat.name)));
        if seat.is_gone {
            entries.push(crate::Entry::Left);
        }
        Reader {
            name: seat.name.clone(),
            entries,
            redelivery: seat.redelivery,
            unwritten: seat.unwritten,
        }
    }
}
