package chaos_test

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"riverwatch/uptime"
)

// ---- monitors: as in jobs/monitors.go and jobs/promise.go ----

var simIntervals = []int{10, 30, 60, 300}

func (s *simulation) create(id int64) {
	m := &simMonitor{id: id, safe: s.chance(70), version: 1}
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
	if m.schedule == before && m.paused == wasPaused {
		return
	}
	m.version++
	if !wasPaused {
		s.withdraw(m, before)
	}
	if !m.paused {
		s.promise(m)
	}
	if m.paused != wasPaused {
		s.restart(m)
	}
}

func (s *simulation) promise(m *simMonitor) {
	first := m.schedule.SlotAfter(time.Now())
	if job := s.insert(m.schedule, first, first); job.running || job.done { // it may have read its monitors already
		first = m.schedule.Next(first)
		s.insert(m.schedule, first, first)
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

// insert inserts the round of a slot, unless it was there at some time, and gives it.
func (s *simulation) insert(schedule uptime.Schedule, slot, start time.Time) *simJob {
	key := simSlot{schedule, slot}
	if job := s.jobs[key]; job != nil {
		return job
	}
	job := &simJob{simSlot: key}
	s.jobs[key], s.open[job] = job, true
	s.after(time.Until(start), func() { s.hand(job) })
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
func (s *simulation) retry(job *simJob, attempt int, why string) {
	if job.attempt != attempt || !job.running {
		return // somebody else has it
	}
	job.running, job.again = false, why
	s.after(min(30*time.Second, time.Second<<min(attempt-1, 5)), func() { s.hand(job) })
}

// rescue takes jobs from workers that have had them for too long, alive or not.
func (s *simulation) rescue() {
	if !s.reachable() {
		return
	}
	for _, job := range s.jobsInOrder() {
		if job.running && time.Since(job.since) > simRescue {
			s.retry(job, job.attempt, "worker_lost")
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
		if job.schedule.SlotAt(time.Now()).After(job.slot) {
			s.declareMissed(job, attempt)
			return
		}
		var monitors []*simMonitor
		ok := s.commit(func() {
			monitors = s.monitorsOf(job)
			if len(monitors) > 0 {
				next := job.slot
				for range simAhead {
					next = job.schedule.Next(next)
					s.insert(job.schedule, next, next)
				}
			}
		})
		if !ok {
			s.retry(job, attempt, "service_down")
			return
		}
		s.scanAll(job, attempt, worker, monitors)
	})
}

// monitorsOf gives the active monitors of a round, at a second attempt those without a row.
func (s *simulation) monitorsOf(job *simJob) (monitors []*simMonitor) {
	for _, m := range s.monitors {
		if !m.paused && m.schedule == job.schedule && (job.attempt == 1 || !s.log[simKey{job.slot, m.id}]) {
			monitors = append(monitors, m)
		}
	}
	return monitors
}

func (s *simulation) declareMissed(job *simJob, attempt int) {
	now := time.Now()
	present := job.schedule.SlotAt(now)
	to, reason := job.schedule.Previous(present), "service_down"
	next, start := present, now.Add(s.upTo(5*time.Second))
	if attempt > 1 {
		to, reason = job.slot, job.again
		next = job.schedule.Next(job.slot)
		start = next
	}
	ok := s.commit(func() {
		s.declareGap(job.schedule, job.slot, to, reason)
		s.insert(job.schedule, next, start)
	})
	if !ok {
		s.retry(job, attempt, "service_down")
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
		s.after(s.upTo(time.Second), func() {
			s.whileAlive(worker, func() { s.probe(job, worker, m, version, finish) })
		})
	}
}

func (s *simulation) probe(job *simJob, worker *simWorker, m *simMonitor, version int, finish func()) {
	s.requests[simDue{job.simSlot, m.id}]++
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
func (s *simulation) declare(job *simJob, m *simMonitor, finish func(), reason string) {
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

// record writes a result, again and again until it hears that it is there: as in jobs/recorder.go and jobs/judge.go.
func (s *simulation) record(
	slot time.Time, worker *simWorker, m *simMonitor, version int, outcome uptime.Outcome, finish func(),
) {
	ok := s.commit(func() {
		key := simKey{slot, m.id}
		if s.log[key] {
			return
		}
		s.log[key] = true
		interval := time.Duration(m.schedule.Interval) * time.Second
		judged := version == m.version && time.Since(slot) < interval+simJudged
		if judged {
			m.state = uptime.Decide(m.state, slot, outcome, simThresholds)
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
			next := m.schedule.SlotAfter(time.Now())
			s.insert(m.schedule, next, next)
		}
	}
	until := time.Now().Add(-simAccount)
	for _, missing := range s.unaccounted(s.tended, until) {
		oldest, ok := live[missing.schedule]
		if ok && !oldest.After(missing.slot) {
			until = missing.slot
			break
		}
		s.declareGap(missing.schedule, missing.slot, missing.slot, "unaccounted")
	}
	s.tended = until
}
