// SPDX-License-Identifier: MIT
// fibers.hpp - Boost.Fiber in its best known configuration. One worker: round robin, pooled stacks. Several: work
// stealing that suspends idle threads, and malloc that keeps what it was given, since the pool is not thread-safe.
#pragma once

#include <atomic>
#include <boost/fiber/all.hpp>
#include <utility>

namespace bf = boost::fibers;

constexpr size_t stack_size = 64 * 1024;

extern bf::pooled_fixedsize_stack *pool; // nullptr: plain malloc

void configure();
// Runs fn as the main fiber.
void run_fibers(void (*fn)());

template <class F> bf::fiber make_fiber(bf::launch launch, F &&f)
{
	if (pool)
		return bf::fiber(launch, std::allocator_arg, *pool, std::forward<F>(f));
	return bf::fiber(launch, std::allocator_arg, bf::fixedsize_stack(stack_size), std::forward<F>(f));
}

// Detached, queued.
template <class F> void spawn(F &&f) { make_fiber(bf::launch::post, std::forward<F>(f)).detach(); }

// To be joined; runs at once, which is what fork-join likes best.
template <class F> bf::fiber fork(F &&f) { return make_fiber(bf::launch::dispatch, std::forward<F>(f)); }

// Lives until the process ends: a fiber may still be in done() when wait() has returned.
class WaitGroup
{
	std::atomic<int64_t> count;
	bf::mutex mutex;
	bf::condition_variable zero;

      public:
	explicit WaitGroup(int64_t n) : count(n) {}
	void done()
	{
		if (count.fetch_sub(1) == 1) {
			std::unique_lock<bf::mutex> lock(mutex);
			zero.notify_all();
		}
	}
	void wait()
	{
		std::unique_lock<bf::mutex> lock(mutex);
		zero.wait(lock, [this] { return count.load() == 0; });
	}
};

inline WaitGroup &wait_group(int64_t n) { return *new WaitGroup(n); }

inline void sleep_ns(int64_t ns) { boost::this_fiber::sleep_for(std::chrono::nanoseconds(ns)); }
