// SPDX-License-Identifier: GPL-2.0-only
/*
 * The parent that stays. To whoever started it, it is the program: signals sent to it reach the
 * program, it stops when the program stops, and ends as the program ended.
 */
#include "cli/exec.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Handed on. SIGKILL and SIGSTOP cannot be; what a program sends itself (SIGSEGV, SIGPIPE, SIGALRM …)
 * is about this process when this process gets it. */
static const int forwarded[] = { SIGINT,   SIGTERM, SIGHUP,  SIGQUIT, SIGUSR1, SIGUSR2,
				 SIGWINCH, SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT };
#define FORWARDED (sizeof(forwarded) / sizeof(*forwarded))

static void forwarded_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGCHLD);
	for (size_t i = 0; i < FORWARDED; i++)
		sigaddset(set, forwarded[i]);
	for (int signal = SIGRTMIN; signal <= SIGRTMAX; signal++)
		sigaddset(set, signal);
}

/*
 * The program is in our process group: what the terminal sends to the group it has got already. Only
 * the hang-up of a session leader is for the leader alone.
 */
static bool reached_the_program(const siginfo_t *info)
{
	if (info->si_code != SI_KERNEL)
		return false;
	return info->si_signo != SIGHUP || getsid(0) != getpid();
}

static void hand_on(pid_t child, const siginfo_t *info)
{
	if (reached_the_program(info))
		return;
	if (info->si_code == SI_QUEUE)
		sigqueue(child, info->si_signo, info->si_value);
	else
		kill(child, info->si_signo);
}

/*
 * The program was stopped by job control: stop likewise, for the shell to see. Not for SIGSTOP, which
 * somebody sent to the program alone and will take back there.
 */
static void stop_like(int signal)
{
	sigset_t set, old;

	if (signal != SIGTSTP && signal != SIGTTIN && signal != SIGTTOU)
		return;
	sigemptyset(&set);
	sigaddset(&set, signal);
	kill(getpid(), signal);
	sigprocmask(SIG_UNBLOCK, &set, &old); /* stops here */
	sigprocmask(SIG_SETMASK, &old, NULL);
}

/* True when the child has ended. */
static bool look_after(pid_t child, bool *stopped, int *status)
{
	while (waitpid(child, status, WNOHANG | WUNTRACED | WCONTINUED) == child) {
		if (WIFEXITED(*status) || WIFSIGNALED(*status))
			return true;
		*stopped = WIFSTOPPED(*status);
		if (*stopped)
			stop_like(WSTOPSIG(*status));
	}
	return false;
}

static int attend(pid_t child, const sigset_t *set)
{
	bool stopped = false;
	siginfo_t info;
	int status;

	for (;;) {
		if (look_after(child, &stopped, &status))
			return status;
		if (sigwaitinfo(set, &info) < 0)
			continue;
		if (info.si_signo == SIGCHLD)
			continue;
		if (info.si_signo != SIGCONT) {
			hand_on(child, &info);
			continue;
		}
		/* A shell continues the whole group: then the program runs already. */
		if (look_after(child, &stopped, &status))
			return status;
		if (stopped)
			kill(child, SIGCONT);
	}
}

struct start {
	const char *path;
	char *const *argv, *const *environment;
	const int *inherit; /* -1 at the end */
	int failure;        /* pipe that tells the errno of execve() */
	pid_t parent;
	sigset_t mask;
	struct sigaction child_action;
};

static _Noreturn void become(const struct start *start)
{
	int error;

	/* Killing the launcher, which nothing can hand on, kills the program. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != start->parent)
		_exit(STATUS_EXEC_FAILED);
	for (const int *fd = start->inherit; *fd >= 0; fd++)
		fcntl(*fd, F_SETFD, 0);
	sigaction(SIGCHLD, &start->child_action, NULL);
	sigprocmask(SIG_SETMASK, &start->mask, NULL);
	execve(start->path, start->argv, start->environment);
	error = errno;
	(void)!write(start->failure, &error, sizeof(error));
	_exit(STATUS_REFUSED);
}

int exec_launch(const char *path, char *const argv[], char *const environment[],
		const int inherit[], int *wait_status)
{
	struct start start = { .path = path,
			       .argv = argv,
			       .environment = environment,
			       .inherit = inherit,
			       .parent = getpid() };
	struct sigaction standard;
	sigset_t set;
	int failure[2], error = 0;
	ssize_t told;
	pid_t child;

	if (pipe2(failure, O_CLOEXEC) < 0)
		return -errno;
	start.failure = failure[1];
	/* An ignored SIGCHLD would make the child's end invisible. */
	memset(&standard, 0, sizeof(standard));
	standard.sa_handler = SIG_DFL;
	sigaction(SIGCHLD, &standard, &start.child_action);
	forwarded_set(&set);
	sigprocmask(SIG_BLOCK, &set, &start.mask);
	child = fork();
	if (child == 0)
		become(&start);
	if (child < 0)
		error = errno;
	close(failure[1]);
	do {
		told = child < 0 ? 0 : read(failure[0], &error, sizeof(error));
	} while (told < 0 && errno == EINTR);
	close(failure[0]);
	if (child > 0 && error)
		waitpid(child, wait_status, 0);
	else if (child > 0)
		*wait_status = attend(child, &set);
	/* The signals stay blocked: the ^C that ended the program must not cost its report. */
	return -error;
}

int exec_end_like(int wait_status)
{
	struct rlimit none = { 0, 0 };
	struct sigaction standard;
	sigset_t set;
	int signal;

	if (WIFEXITED(wait_status))
		return WEXITSTATUS(wait_status);
	signal = WTERMSIG(wait_status);
	/* The core is the program's, not ours. */
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0);
	memset(&standard, 0, sizeof(standard));
	standard.sa_handler = SIG_DFL;
	sigaction(signal, &standard, NULL);
	sigemptyset(&set);
	sigaddset(&set, signal);
	kill(getpid(), signal);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	return 128 + signal;
}
