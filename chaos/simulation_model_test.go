package chaos_test

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"riverwatch/uptime"
)

// ---- monitors: as in monitors/change.go and monitors/promise.go ----

var simIntervals = []int{10, 30, 60, 300}

func (s *simulation) create(id int64) {
	m := &simMonitor{id: id, safe: s.chance(70), version: 1, changedAt: time.Now()}
	s.monitors = append(s.monitors, m)
	m.schedule = uptime.ScheduleOf(id%4, simIntervals[s.random.IntN(len(simIntervals))]) // some share one
	s.promise(m)
	s.restart(m)
}

func (s *simulation) editSomething() {
	if len(s.monitors) == 0 || !s.reachable() {
		return
	}
	m := s.monitors[s.random.IntN(len(s.monitors))]
	wasPaused := m.paused
	if s.chance(40) {
		m.paused = !m.paused
	}
	before := m.schedule
	if s.chance(60) {
		m.schedule = uptime.ScheduleOf(m.id%4, simIntervals[s.random.IntN(len(simIntervals))])
	}
	asksElse := s.chance(30)
	if m.schedule == before && m.paused == wasPaused && !asksElse {
		return
	}
	m.version, m.changedAt = m.version+1, time.Now()
	if asksElse { // another target, which has a health of its own
		m.sick, m.sickUntil = s.chance(30), time.Time{}
	}
	if !wasPaused {
		s.withdraw(m, before)
	}
	if !m.paused {
		s.promise(m)
	}
	if m.paused != wasPaused || asksElse {
		s.restart(m)
	}
}

func (s *simulation) promise(m *simMonitor) {
	first := m.schedule.SlotAfter(time.Now())
	if job := s.insertInTime(m.schedule, first); job.running || job.done { // it may have read its monitors already
		first = m.schedule.Next(first)
		s.insertInTime(m.schedule, first)
	}
	m.promises = append(m.promises, simPromise{schedule: m.schedule, from: first})
}

func (s *simulation) withdraw(m *simMonitor, schedule uptime.Schedule) {
	open := &m.promises[len(m.promises)-1]
	recorded := s.log[simKey{schedule.SlotAt(time.Now()), m.id}]
	open.until = schedule.Close(time.Now(), recorded)
	if open.until.Before(open.from) {
		m.promises = m.promises[:len(m.promises)-1]
	}
}

func (s *simulation) restart(m *simMonitor) {
	m.state = uptime.Start(time.Now(), m.paused)
	start := m.state
	s.commits = append(s.commits, simCommit{id: m.id, start: &start})
}

// ---- the queue: as River does it ----

// insertInTime inserts the round of a slot, to be on time, as insert does.
func (s *simulation) insertInTime(schedule uptime.Schedule, slot time.Time) *simJob {
	return s.insert(schedule, slot, slot.Add(-uptime.RoundLead))
}

// insert inserts the round of a slot, to begin at an instant, unless it was there at some time, and gives it.
func (s *simulation) insert(schedule uptime.Schedule, slot, begins time.Time) *simJob {
	key := simSlot{schedule, slot}
	if job := s.jobs[key]; job != nil {
		return job
	}
	job := &simJob{simSlot: key, due: begins}
	s.jobs[key], s.open[job] = job, true
	s.after(time.Until(begins), func() { s.hand(job) })
	return job
}

// hand gives a job to a worker, as soon as there is one and the database hands it out.
func (s *simulation) hand(job *simJob) {
	var free []*simWorker
	for _, worker := range s.workers {
		if !worker.dead && !worker.frozen {
			free = append(free, worker)
		}
	}
	if len(free) == 0 || !s.reachable() {
		s.after(150*time.Millisecond+s.upTo(time.Second), func() { s.hand(job) })
		return
	}
	job.attempt++
	job.running, job.since, job.worker = true, time.Now(), free[s.random.IntN(len(free))]
	if s.chance(1) {
		return // the answer is lost: the job is the worker's, who never hears of it
	}
	attempt, worker := job.attempt, job.worker
	s.after(s.upTo(50*time.Millisecond), func() { s.work(job, attempt, worker) })
}

// retry makes an attempt that failed be made again.
func (s *simulation) retry(job *simJob, attempt int, why uptime.GapReason) {
	if job.attempt != attempt || !job.running {
		return // somebody else has it
	}
	job.running, job.again = false, why
	job.due = time.Now().Add(min(30*time.Second, time.Second<<min(attempt-1, 5)))
	s.after(time.Until(job.due), func() { s.hand(job) })
}

// snooze gives a job back for a while. That it was taken counts as no attempt.
func (s *simulation) snooze(job *simJob, attempt int, d time.Duration) {
	if job.attempt == attempt && job.running && s.reachable() {
		job.running, job.attempt, job.due = false, job.attempt-1, time.Now().Add(d)
		s.after(d, func() { s.hand(job) })
	}
}

// rescue takes jobs from workers that have had them for too long, alive or not.
func (s *simulation) rescue() {
	if !s.reachable() {
		return
	}
	for _, job := range s.jobsInOrder() {
		if job.running && time.Since(job.since) > simRescue {
			s.retry(job, job.attempt, uptime.WorkerLost)
		}
	}
}

func (s *simulation) jobsInOrder() []*simJob {
	return slices.SortedFunc(maps.Keys(s.open), func(a, b *simJob) int {
		return cmp.Or(a.slot.Compare(b.slot), cmp.Compare(a.schedule.Interval, b.schedule.Interval),
			cmp.Compare(a.schedule.PhaseMS, b.schedule.PhaseMS))
	})
}

// finish completes an attempt, unless somebody else has the job by now.
func (s *simulation) finish(job *simJob, attempt int) {
	if job.attempt == attempt && job.running {
		job.done, job.running = true, false
		delete(s.open, job)
	}
}

// whileAlive calls f once the worker runs, if it is not dead by then.
func (s *simulation) whileAlive(worker *simWorker, f func()) {
	switch {
	case worker.dead:
	case worker.frozen:
		s.after(time.Second, func() { s.whileAlive(worker, f) })
	default:
		f()
	}
}

// commit carries a transaction out, and reports what its worker hears of it: that it failed, or came through, or that
// it failed although it came through.
func (s *simulation) commit(transaction func()) (ok bool) {
	if !s.reachable() {
		return false
	}
	transaction()
	return !s.chance(1)
}

// ---- a round: as in jobs/round.go ----

func (s *simulation) work(job *simJob, attempt int, worker *simWorker) {
	s.whileAlive(worker, func() {
		round := uptime.Round{
			Schedule: job.schedule, Slot: job.slot, Attempt: attempt, Due: job.due, PutOff: job.putOff,
		}
		now := time.Now().Add(worker.skew)
		if round.Doubts(now) {
			now = round.Believe(now, time.Now())
		}
		switch step, until := round.Step(now); step {
		case uptime.DeclareGaps:
			s.declareMissed(job, attempt, round.Missed(now, s.chance(5), job.again))
		case uptime.LetWait:
			job.putOff = until
			s.snooze(job, attempt, min(until.Sub(now), 4*time.Second))
		case uptime.GiveBack:
			s.snooze(job, attempt, until.Sub(now))
		case uptime.ScanSlot:
			s.begin(job, attempt, worker, round, job.slot.Sub(now))
		}
	})
}

// begin makes sure of the next rounds, waits for the slot, and reads and scans the round's monitors. Whoever was edited while
// the worker stood still in between is not among them.
func (s *simulation) begin(job *simJob, attempt int, worker *simWorker, round uptime.Round, untilSlot time.Duration) {
	some := false
	ok := s.commit(func() {
		if some = len(s.monitorsOf(job, attempt)) > 0; some {
			next := job.slot
			for range uptime.RoundsAhead {
				next = job.schedule.Next(next)
				s.insertInTime(job.schedule, next)
			}
		}
	})
	if !ok {
		s.retry(job, attempt, uptime.ServiceDown)
		return
	}
	due := time.Now().Add(untilSlot)
	s.after(max(0, untilSlot), func() {
		s.whileAlive(worker, func() {
			switch {
			case !s.reachable():
				s.retry(job, attempt, uptime.ServiceDown)
			case some && !time.Now().Before(job.schedule.Next(due)):
				s.declareMissed(job, attempt, round.StoodStill())
			case some:
				s.scanAll(job, attempt, worker, s.monitorsOf(job, attempt))
			default:
				s.finish(job, attempt)
			}
		})
	})
}

// monitorsOf gives the active monitors to which a round is promised, at a second attempt those without a row.
func (s *simulation) monitorsOf(job *simJob, attempt int) (monitors []*simMonitor) {
	for _, m := range s.monitors {
		if m.paused || m.schedule != job.schedule || m.promises[len(m.promises)-1].from.After(job.slot) {
			continue
		}
		if attempt == 1 || !s.log[simKey{job.slot, m.id}] {
			monitors = append(monitors, m)
		}
	}
	return monitors
}

func (s *simulation) declareMissed(job *simJob, attempt int, missed uptime.Missed) {
	ok := s.commit(func() {
		s.declareGap(job.schedule, job.slot, missed.To, missed.Reason)
		s.insert(job.schedule, missed.Next, missed.Begins)
	})
	if !ok {
		s.retry(job, attempt, uptime.ServiceDown)
		return
	}
	s.finish(job, attempt)
}

// scanAll scans monitors, and completes the job when the last result is recorded.
func (s *simulation) scanAll(job *simJob, attempt int, worker *simWorker, monitors []*simMonitor) {
	open := len(monitors)
	finish := func() {
		open--
		if open <= 0 {
			s.finish(job, attempt)
		}
	}
	if open == 0 {
		finish()
	}
	for _, m := range monitors {
		if attempt > 1 && !m.safe {
			s.declare(job, m, finish, job.again)
			continue
		}
		version := m.version
		s.after(s.upTo(simSpread), func() {
			s.whileAlive(worker, func() { s.probe(job, worker, m, version, finish) })
		})
	}
}

func (s *simulation) probe(job *simJob, worker *simWorker, m *simMonitor, version int, finish func()) {
	s.requests[simDue{job.simSlot, m.id}]++
	if worker.thawedAt.Before(job.slot) && time.Since(job.schedule.Next(job.slot)) > simSpread+simSkew {
		s.finding("slot %s of monitor %d was requested at %s", job.slot, m.id, time.Now())
	}
	outcome := uptime.OK
	switch {
	case m.sick:
		outcome = uptime.StatusMismatch
	case s.chance(1):
		outcome = uptime.Inconclusive
	}
	s.after(s.upTo(5*time.Second), func() {
		s.whileAlive(worker, func() { s.record(job.slot, worker, m, version, outcome, finish) })
	})
}

// declare declares one slot of one monitor, as long as it takes.
func (s *simulation) declare(job *simJob, m *simMonitor, finish func(), reason uptime.GapReason) {
	ok := s.commit(func() {
		if !s.log[simKey{job.slot, m.id}] {
			s.addGap(job.schedule, simGap{job.slot, job.slot, m.id, reason})
		}
	})
	if !ok {
		s.after(time.Second, func() { s.declare(job, m, finish, reason) })
		return
	}
	finish()
}

// record writes a result, again and again until it hears that it is there: as in record/recorder.go and record/judge.go.
func (s *simulation) record(
	slot time.Time, worker *simWorker, m *simMonitor, version int, outcome uptime.Outcome, finish func(),
) {
	ok := s.commit(func() {
		key := simKey{slot, m.id}
		if s.log[key] {
			return
		}
		s.log[key] = true
		configuration := uptime.Configuration{Version: m.version, Since: m.changedAt, Interval: m.interval()}
		judged := configuration.Counts(version, slot, time.Now())
		if judged {
			m.state = uptime.Decide(m.state, slot, outcome, simThresholds)
		}
		if judged && outcome.Failed() && !m.sick && time.Since(m.sickUntil) > m.interval()+simJudged+simSkew {
			s.finding("monitor %d was judged by a failure at %s that is not its own, or too old", m.id, slot)
		}
		s.commits = append(s.commits, simCommit{id: m.id, slot: slot, outcome: outcome, judged: judged})
	})
	if !ok {
		s.after(100*time.Millisecond+s.upTo(5*time.Second), func() {
			s.whileAlive(worker, func() { s.record(slot, worker, m, version, outcome, finish) })
		})
		return
	}
	finish()
}

// ---- tend: as in jobs/tend.go ----

func (s *simulation) tend() {
	if !s.reachable() {
		return
	}
	live := map[uptime.Schedule]time.Time{} // the oldest slot at work
	for _, job := range s.jobsInOrder() {
		if _, ok := live[job.schedule]; !ok {
			live[job.schedule] = job.slot
		}
	}
	for _, m := range s.monitors {
		if _, ok := live[m.schedule]; !ok && !m.paused {
			s.insertInTime(m.schedule, m.schedule.SlotAfter(time.Now()))
		}
	}
	until := time.Now().Add(-simAccount)
	for _, missing := range s.unaccounted(s.tended, until) {
		oldest, ok := live[missing.schedule]
		if ok && !oldest.After(missing.slot) {
			until = missing.slot
			break
		}
		s.declareGap(missing.schedule, missing.slot, missing.slot, uptime.Unaccounted)
	}
	s.tended = until
}
