/* A clock that is wrong by as many seconds as the file OFFSET_FILE holds, for whoever is started with it preloaded. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset(void) {
	static volatile long *seconds;
	if (!seconds) {
		int file = open(OFFSET_FILE, O_RDONLY);
		if (file < 0)
			return 0;
		void *mapped = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
		close(file);
		if (mapped == MAP_FAILED)
			return 0;
		seconds = mapped;
	}
	return *seconds;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
	int failed = syscall(SYS_clock_gettime, clock, at);
	if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		at->tv_sec += offset();
	return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
	struct timespec now;
	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	at->tv_sec = now.tv_sec;
	at->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *at) {
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (at)
		*at = now.tv_sec;
	return now.tv_sec;
}
