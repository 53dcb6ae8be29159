// SPDX-License-Identifier: MIT
// measure.cpp - checks, clocks, memory figures and statistics.
#include "bench.hpp"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <sys/resource.h>
#include <unistd.h>

Memory memory_at_start;

void fail(const char *fmt, ...)
{
	va_list args;

	std::fputs("boostbench: ", stderr);
	va_start(args, fmt);
	std::vfprintf(stderr, fmt, args);
	va_end(args);
	std::fputc('\n', stderr);
	_exit(1);
}

void Result::number(const char *key, double value)
{
	char digits[64];

	std::snprintf(digits, sizeof digits, "%.15g", std::round(value * 1000) / 1000);
	extra += (extra.empty() ? "\"" : ",\"") + std::string(key) + "\":" + digits;
}

void Result::text(const char *key, const std::string &value)
{
	extra += (extra.empty() ? "\"" : ",\"") + std::string(key) + "\":\"" + value + "\"";
}

void Result::quantiles(const char *what, std::vector<int64_t> &samples)
{
	std::sort(samples.begin(), samples.end());
	auto add = [&](const char *prefix, double fraction) {
		number((std::string(prefix) + "_" + what).c_str(),
			double(samples[size_t(fraction * double(samples.size() - 1))]) / 1e3);
	};
	add("p50", 0.5);
	add("p99", 0.99);
	add("max", 1);
}

int64_t env_number(const char *name, int64_t otherwise)
{
	const char *text = std::getenv(name);

	return text && *text ? std::atoll(text) : otherwise;
}

int64_t now_ns()
{
	timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return int64_t(ts.tv_sec) * 1000000000 + ts.tv_nsec;
}

static rusage resources()
{
	rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage;
}

int64_t cpu_ns()
{
	rusage u = resources();

	return (int64_t(u.ru_utime.tv_sec) + u.ru_stime.tv_sec) * 1000000000 +
	       (int64_t(u.ru_utime.tv_usec) + u.ru_stime.tv_usec) * 1000;
}

int64_t context_switches()
{
	rusage u = resources();

	return u.ru_nvcsw + u.ru_nivcsw;
}

Memory memory_now()
{
	Memory m{};
	std::ifstream statm("/proc/self/statm"), status("/proc/self/status");
	std::string line;

	statm >> m.vsz >> m.rss;
	m.vsz *= sysconf(_SC_PAGESIZE);
	m.rss *= sysconf(_SC_PAGESIZE);
	while (std::getline(status, line))
		if (line.rfind("VmPTE:", 0) == 0)
			m.pte = std::atoll(line.c_str() + std::strlen("VmPTE:")) * 1024;
	return m;
}
