// Stands in for Linux below one static program on a bare emulated CPU: loads its ELF image, gives
// it a stack, answers the few system calls of a program without files or threads, and reports
// faults. Text goes to port 0xe9, where the emulator prints it.
//
// Memory: page tables, this stub and its stacks below 1 MiB; the program's image from its own
// address, then its heap, up to STACK_END; mmap from MMAP_BEGIN on, never given back. Wild pointers
// do not fault: everything up to 4 GiB is mapped.
typedef unsigned long u64;
typedef unsigned u32;
typedef unsigned short u16;
typedef unsigned char u8;

#define PROGRAM ((u8*)0xffc00000UL)  // the ROM's 4 MiB end at 4 GiB: program, then this stub
#define STACK_END 0x10000000UL
#define MMAP_BEGIN 0x14000000UL

static volatile struct {
  u64 heap_end, mmap_end, random;
}* const state = (void*)0x70008;

extern char sysentry[], vec[];
void enter(u64 entry, u64 stack);

static void outb(u16 port, u8 v) { asm volatile("outb %0,%1" ::"a"(v), "Nd"(port)); }
static void print_bytes(const char* s, u64 n) {
  while (n--) outb(0xe9, *s++);
}
static void print(const char* s) {
  while (*s) outb(0xe9, *s++);
}
static void print_hex(u64 v) {
  for (int shift = 60; shift >= 0; shift -= 4) outb(0xe9, "0123456789abcdef"[v >> shift & 15]);
}
static void print_decimal(u64 v) {
  char digits[20];
  int i = 20;
  do digits[--i] = '0' + v % 10;
  while (v /= 10);
  print_bytes(digits + i, 20 - i);
}

static void wrmsr(u32 msr, u64 v) {
  asm volatile("wrmsr" ::"c"(msr), "a"((u32)v), "d"((u32)(v >> 32)));
}
static u64 rdtsc(void) {
  u32 low, high;
  asm volatile("rdtsc" : "=a"(low), "=d"(high));
  return low | (u64)high << 32;
}
static void zero(u64 p, u64 n) { asm volatile("rep stosb" : "+D"(p), "+c"(n) : "a"(0) : "memory"); }
static void copy(u64 to, u64 from, u64 n) {
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
}

static void __attribute__((noreturn)) quit(int status) {
  print("\nEMU EXIT ");
  print_decimal(status);
  print("\n");
  for (const char* s = "Shutdown"; *s; ++s) outb(0x8900, *s);  // the emulator's power switch
  for (;;) asm volatile("cli;hlt");
}

void kfault(const u64* frame) {  // vector, then the error code if it has one, rip
  u64 address;
  asm("mov %%cr2,%0" : "=r"(address));
  print("\nEMU FAULT vec ");
  print_decimal(frame[0]);
  print(" rip/err ");
  print_hex(frame[1]);
  print(" ");
  print_hex(frame[2]);
  print(" cr2 ");
  print_hex(address);
  quit(255);
}

static u64 map(u64 bytes) {
  const u64 size = (bytes + 4095) & ~4095UL, p = state->mmap_end;
  state->mmap_end = p + size;
  zero(p, size);
  return p;
}

static long character_device(u64 stat) {
  zero(stat, 144);
  *(u32*)(stat + 24) = 020620;
  return 0;
}

static long write_vector(const u64* v, u64 count) {
  u64 total = 0;
  for (u64 i = 0; i < count; ++i) {
    print_bytes((const char*)v[2 * i], v[2 * i + 1]);
    total += v[2 * i + 1];
  }
  return total;
}

// A Linux system call; the number comes on the stack.
long ksys(u64 a, u64 b, u64 c, u64 d, u64 e, u64 f, u64 number) {
  (void)d, (void)f;
  switch (number) {
    case 1:  // write
      print_bytes((const char*)b, c);
      return c;
    case 20:  // writev
      return write_vector((const u64*)b, c);
    case 5:  // fstat
      return character_device(b);
    case 262:  // newfstatat, of an open file alone
      return *(const char*)b ? -2 : character_device(c);
    case 9:  // mmap, anonymous alone
      return e != ~0UL && (int)e >= 0 ? -38 : (long)map(b);
    case 25: {  // mremap
      const u64 p = map(c);
      copy(p, a, b < c ? b : c);
      return p;
    }
    case 12:  // brk
      if (a > state->heap_end && a < STACK_END) {
        zero(state->heap_end, a - state->heap_end);
        state->heap_end = a;
      }
      return state->heap_end;
    case 10:
    case 11:
    case 13:
    case 14:
    case 24:
    case 28:
    case 202:
    case 273:
      return 0;  // mprotect, munmap, signals, sched_yield, madvise, futex, robust list
    case 39:
    case 186:
    case 218:
      return 1;  // process and thread ids
    case 158:    // arch_prctl: the thread pointer; permission to use AMX
      if (a == 0x1002) wrmsr(0xc0000100, b);
      return a == 0x1002 || a == 0x1023 ? 0 : -22;
    case 228: {  // clock_gettime: a tick is a nanosecond
      const u64 ticks = rdtsc();
      ((u64*)b)[0] = ticks / 1000000000, ((u64*)b)[1] = ticks % 1000000000;
      return 0;
    }
    case 318:  // getrandom, the same in every run
      for (u64 i = 0; i < b; ++i) {
        state->random = state->random * 6364136223846793005UL + 1442695040888963407UL;
        ((u8*)a)[i] = state->random >> 56;
      }
      return b;
    case 204:  // sched_getaffinity: one CPU
      zero(c, b);
      *(u8*)c = 1;
      return 8;
    case 60:
    case 231:  // exit
      quit((int)a);
    case 200:
    case 234:  // a signal to itself: abort
      quit(128 + (int)c);
    case 16:  // ioctl
      return -25;
    case 21:
    case 89:
    case 257:
    case 267:  // files
      return -2;
    default:
      return -38;
  }
}

// Copies the program's segments to their addresses; returns where its headers lie in memory.
static u64 load(const u8* elf, u64 headers, u16 count) {
  u64 end = 0, mapped_headers = 0;
  for (const u8* p = elf + headers; count--; p += 56) {
    if (*(const u32*)p != 1) continue;  // PT_LOAD
    const u64 offset = *(const u64*)(p + 8), address = *(const u64*)(p + 16);
    const u64 in_file = *(const u64*)(p + 32), in_memory = *(const u64*)(p + 40);
    copy(address, (u64)elf + offset, in_file);
    zero(address + in_file, in_memory - in_file);
    if (address + in_memory > end) end = address + in_memory;
    if (offset == 0) mapped_headers = address + headers;
  }
  state->heap_end = (end + 4095) & ~4095UL;
  return mapped_headers;
}

static void set_interrupts_and_calls(void) {
  u64* idt = (u64*)0x7000;
  for (int i = 0; i < 32; ++i) {
    const u64 handler = (u64)vec + 16 * i;
    idt[2 * i] = (handler & 0xffff) | 8UL << 16 | 0x8eUL << 40 | (handler >> 16 & 0xffff) << 48;
    idt[2 * i + 1] = handler >> 32;
  }
  struct {
    u16 limit;
    u64 base;
  } __attribute__((packed)) idtr = {511, 0x7000};
  asm volatile("lidt %0" ::"m"(idtr));
  wrmsr(0xc0000081, 8UL << 32 | 8UL << 48);  // STAR, LSTAR, SFMASK
  wrmsr(0xc0000082, (u64)sysentry);
  wrmsr(0xc0000084, 0x600);
}

void kmain(void) {
  const u8* elf = PROGRAM;
  const u64 entry = *(const u64*)(elf + 24), headers = *(const u64*)(elf + 32);
  const u16 count = *(const u16*)(elf + 56);
  set_interrupts_and_calls();
  if (*(const u32*)elf != 0x464c457f) print("not an ELF program\n"), quit(254);
  const u64 mapped_headers = load(elf, headers, count);
  state->mmap_end = MMAP_BEGIN, state->random = 12345;

  char* random = (char*)(STACK_END - 4096);  // 16 bytes, then the arguments
  for (int i = 0; i < 16; ++i) random[i] = i * 7 + 1;
  static const char arguments[] = "kernels_check " ARGUMENTS;
  copy((u64)random + 32, (u64)arguments, sizeof arguments);
  u64 stack[40], n = 1;
  for (char* s = random + 32; *s;) {
    while (*s == ' ') *s++ = 0;
    if (!*s || n > 16) break;
    stack[n++] = (u64)s;
    while (*s && *s != ' ') ++s;
  }
  stack[0] = n - 1;
  stack[n++] = 0, stack[n++] = 0;  // end of arguments, empty environment
  const u64 auxiliary[] = {3, mapped_headers, 4,  56,          5,  count, 6, 4096,
                           9, entry,          25, (u64)random, 23, 0,     0, 0};
  for (u64 i = 0; i < sizeof auxiliary / 8; ++i) stack[n++] = auxiliary[i];
  const u64 top = ((u64)random - 8 * n - 256) & ~63UL;
  copy(top, (u64)stack, 8 * n);
  enter(entry, top);
}
