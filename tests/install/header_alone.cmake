# gmp.h compiles alone, in C11 and C++17, strict and pedantic, unused and with its inline half used, with and without -O.
set(flags -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -I${SOURCE_DIR}/include -c -o ${WORK_DIR}/out.o)
file(MAKE_DIRECTORY ${WORK_DIR})
file(WRITE ${WORK_DIR}/alone.c "#include <gmp.h>\nint gmp_alone_;\n")
file(WRITE ${WORK_DIR}/used.c [[
#include <gmp.h>
int use(gmp_chan *c, void *p, gmp_g *g, gmp_mutex *m, gmp_waitgroup *w, gmp_sem *s);
int use(gmp_chan *c, void *p, gmp_g *g, gmp_mutex *m, gmp_waitgroup *w, gmp_sem *s)
{
	static gmp_mutex mu = GMP_MUTEX_INIT;
	static gmp_rwmutex rw = GMP_RWMUTEX_INIT;
	static gmp_cond cond = GMP_COND_INIT;
	static gmp_waitgroup wg = GMP_WAITGROUP_INIT;
	static gmp_sem sem = GMP_SEM_INIT;
	static gmp_once once = GMP_ONCE_INIT;
	(void)&rw, (void)&cond, (void)&once;
	gmp_yield();
	gmp_mutex_unlock(m);
	return gmp_chan_send(c, p) + gmp_chan_recv(c, p) + gmp_join(g) + gmp_mutex_lock(m) + gmp_mutex_lock(&mu) +
	       gmp_waitgroup_wait(w) + gmp_waitgroup_wait(&wg) + gmp_sem_acquire(s) + gmp_sem_acquire(&sem);
}
]])

# The build's own compiler (a cross compiler perhaps), and in a native build whatever else is installed.
set(compilers ${CC})
if(NOT CROSSCOMPILING)
  list(APPEND compilers gcc clang g++ clang++)
endif()
foreach(compiler IN LISTS compilers)
  unset(path CACHE)
  find_program(path ${compiler})
  if(NOT path)
    message("no ${compiler} here")
    continue()
  endif()
  if(compiler MATCHES "\\+\\+$")
    set(language c++)
    set(standards c++17 gnu++20)
  else()
    set(language c)
    set(standards c11 gnu17)
  endif()
  foreach(standard IN LISTS standards)
    foreach(program alone used)
      foreach(optimise -O0 -O2 "-O2;-fPIC" "-O3;-fno-omit-frame-pointer" "-Os;-flto" "-O2;-DGMP_NO_INLINE")
        set(command ${path} -x ${language} -std=${standard} ${optimise} ${flags} ${WORK_DIR}/${program}.c)
        execute_process(COMMAND ${command} RESULT_VARIABLE failed)
        if(failed)
          message(FATAL_ERROR "failed: ${command}")
        endif()
      endforeach()
    endforeach()
  endforeach()
  message("${compiler}: ok")
endforeach()
