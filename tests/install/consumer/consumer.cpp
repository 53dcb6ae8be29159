// SPDX-License-Identifier: MIT
#include <atomic>
#include <cstdio>
#include <gmp.h>
#include <memory>

int main()
{
	std::atomic<int> sum{0};
	int err = gmp_run(
		[](void *arg) {
			gmp_waitgroup wg = GMP_WAITGROUP_INIT;
			for (int i = 0; i < 100; i++)
				gmp_waitgroup_spawn(
					&wg,
					[](void *counter) {
						auto own = std::make_unique<int>(1);
						gmp_yield();
						*static_cast<std::atomic<int> *>(counter) += *own;
					},
					arg);
			gmp_waitgroup_wait(&wg);
		},
		&sum, nullptr);
	std::printf("err %d sum %d\n", err, sum.load());
	return !(err == 0 && sum == 100);
}
