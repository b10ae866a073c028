// SPDX-License-Identifier: GPL-2.0-only
/* May a recording run? Pure, so that every refusal is tested without running one. */
#include "traces/recorder/recorder.h"

#include <stdio.h>
#include <string.h>

static bool refuse(char *why, size_t size, const char *reason)
{
	snprintf(why, size, "%s", reason);
	return false;
}

bool guard_allows(const struct circumstances *now, char *why, size_t size)
{
	if (now->record_exists && !now->again)
		return refuse(
			why, size,
			"there is a record already, and one is enough; to replace it (what it "
			"has spent still counts) give --again");
	if (now->dry_run)
		return now->planned ? refuse(why, size, "a dry run executes no split lock") : true;
	if (!now->really)
		return refuse(why, size,
			      "it executes split locks, which stop every core of this machine, and "
			      "of its host: give --dry-run, or --yes-really");
	if (now->spent > SPLIT_BUDGET || now->planned > SPLIT_BUDGET - now->spent) {
		snprintf(why, size,
			 "%u split locks planned and %u executed by earlier recordings, but all of "
			 "them together may have %u: give a smaller --repeat",
			 now->planned, now->spent, SPLIT_BUDGET);
		return false;
	}
	if (now->ci)
		return refuse(why, size,
			      "the environment variable CI is set: continuous integration runs on "
			      "shared machines; --dry-run is allowed there");
	if (!now->terminal)
		return refuse(
			why, size,
			"no terminal: somebody has to be asked first; --dry-run needs nobody");
	return true;
}

void guard_sentence(unsigned planned, char *text, size_t size)
{
	snprintf(text, size, "stop this machine %u times", planned);
}

bool guard_confirms(unsigned planned, const char *typed)
{
	char sentence[64];

	guard_sentence(planned, sentence, sizeof(sentence));
	return !strcmp(typed, sentence);
}
