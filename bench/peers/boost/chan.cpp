// SPDX-License-Identifier: MIT
// chan.cpp - messages over channels.
#include "bench.hpp"
#include "fibers.hpp"

#include <memory>

template <class Channel> static void send(Channel &c, int64_t v)
{
	EXPECT(c.push(v) == bf::channel_op_status::success, "push");
}

template <class Channel> static int64_t receive(Channel &c)
{
	int64_t v;

	EXPECT(c.pop(v) == bf::channel_op_status::success, "pop");
	return v;
}

using Unbuffered = bf::unbuffered_channel<int64_t>;

static Result run_chan_pp(int64_t n)
{
	Unbuffered ping, pong;
	auto &wg = wait_group(2);
	int64_t rounds = n / 2 + 1, last = 0;
	Result r;

	int64_t start = now_ns();
	spawn([&, rounds] {
		for (int64_t i = 0; i < rounds; i++)
			send(pong, receive(ping) + 1);
		wg.done();
	});
	spawn([&, rounds] {
		int64_t v = 0;
		for (int64_t i = 0; i < rounds; i++) {
			send(ping, v);
			v = receive(pong);
		}
		last = v;
		wg.done();
	});
	wg.wait();
	r.ns = now_ns() - start;
	r.ops = 2 * rounds;
	EXPECT(last == rounds, "the ball ended at %lld", (long long)last);
	return r;
}

static Result pump(int64_t n, int64_t producers, int64_t consumers)
{
	bf::buffered_channel<int64_t> channel(128);
	auto &producing = wait_group(producers), &consuming = wait_group(consumers);
	std::atomic<int64_t> sum{0}, count{0};
	int64_t each = n / producers + 1;
	Result r;

	int64_t start = now_ns();
	for (int64_t p = 0; p < producers; p++)
		spawn([&, p] {
			for (int64_t v = p * each; v < (p + 1) * each; v++)
				send(channel, v);
			producing.done();
		});
	for (int64_t c = 0; c < consumers; c++)
		spawn([&] {
			int64_t s = 0, m = 0, v;
			while (channel.pop(v) == bf::channel_op_status::success) {
				s += v;
				m++;
			}
			sum += s;
			count += m;
			consuming.done();
		});
	producing.wait();
	channel.close();
	consuming.wait();
	r.ns = now_ns() - start;
	r.ops = each * producers;
	EXPECT(count == r.ops && sum == r.ops * (r.ops - 1) / 2, "%lld values", (long long)count.load());
	return r;
}

static Result run_chan_buf(int64_t n) { return pump(n, 1, 1); }

static Result run_chan_mpmc(int64_t n) { return pump(n, 4, 4); }

static Result run_ring(int64_t n)
{
	constexpr int64_t nodes = 503;
	std::vector<std::unique_ptr<Unbuffered>> channels;
	Unbuffered done;
	auto &wg = wait_group(nodes);
	Result r;

	for (int64_t i = 0; i < nodes; i++)
		channels.push_back(std::make_unique<Unbuffered>());
	int64_t start = now_ns();
	for (int64_t i = 0; i < nodes; i++)
		spawn([&, i] {
			Unbuffered &in = *channels[size_t(i)], &out = *channels[size_t((i + 1) % nodes)];
			int64_t token;
			while (in.pop(token) == bf::channel_op_status::success) {
				if (token > 0)
					send(out, token - 1);
				else
					send(done, i);
			}
			if (i < nodes - 1)
				out.close();
			wg.done();
		});
	send(*channels[0], n);
	int64_t last = receive(done);
	r.ns = now_ns() - start;
	r.ops = n;
	channels[0]->close();
	wg.wait();
	EXPECT(last == n % nodes, "the token ended at %lld", (long long)last);
	return r;
}

static int64_t nth_prime(int64_t n)
{
	int64_t candidate = 1;

	while (n > 0) {
		int64_t divisor = 2;
		candidate++;
		while (divisor * divisor <= candidate && candidate % divisor != 0)
			divisor++;
		n -= divisor * divisor > candidate;
	}
	return candidate;
}

static Result run_sieve(int64_t n)
{
	auto *in = new Unbuffered; // the chain stays blocked for good, as in the classic program
	int64_t prime = 0;
	Result r;

	int64_t start = now_ns();
	spawn([in] {
		for (int64_t v = 2;; v++)
			send(*in, v);
	});
	for (int64_t i = 0; i < n; i++) {
		if (i > 0) {
			auto *out = new Unbuffered;
			spawn([in, out, prime] {
				for (;;) {
					int64_t v = receive(*in);
					if (v % prime != 0)
						send(*out, v);
				}
			});
			in = out;
		}
		prime = receive(*in);
	}
	r.ns = now_ns() - start;
	r.ops = 1;
	EXPECT(prime == nth_prime(n), "prime %lld is %lld", (long long)n, (long long)prime);
	return r;
}

const std::vector<Workload> chan_workloads = {
	{"chan_pp", run_chan_pp, 4000000, WarmUp::twentieth, false},
	{"chan_buf", run_chan_buf, 20000000, WarmUp::twentieth, false},
	{"chan_mpmc", run_chan_mpmc, 8000000, WarmUp::twentieth, false},
	{"ring", run_ring, 5000000, WarmUp::twentieth, false},
	{"sieve", run_sieve, 2000, WarmUp::twentieth, false},
};
