// From the reset vector to long mode with every vector register enabled, then kmain; the entries of
// system calls and faults. Linked to run at 0xf0000, where the ROM's last 64 KiB appear.
    .section .text.lo,"ax"
    .code16
start16:
    cli; cld
    mov %cs,%ax; mov %ax,%ds
    lgdtl gdtr - 0xf0000
    mov %cr0,%eax; or $1,%eax; and $0x9fffffff,%eax; mov %eax,%cr0
    ljmpl $0x18,$start32

    .code32
start32:
    mov $0x10,%ax; mov %ax,%ds; mov %ax,%es; mov %ax,%ss; mov %ax,%fs; mov %ax,%gs
    xor %eax,%eax; mov $0x1000,%edi; mov $0x1800,%ecx; rep stosl
    movl $0x2003,0x1000                 // page tables at 0x1000: 4 GiB mapped one to one
    movl $0x3003,0x2000; movl $0x4003,0x2008; movl $0x5003,0x2010; movl $0x6003,0x2018
    mov $0x3000,%edi; mov $0x83,%eax; mov $2048,%ecx
1:  mov %eax,(%edi); add $8,%edi; add $0x200000,%eax; loop 1b
    mov $0x1000,%eax; mov %eax,%cr3
    mov $0x50620,%eax; mov %eax,%cr4    // PAE OSFXSR OSXMMEXCPT FSGSBASE OSXSAVE
    mov $0xc0000080,%ecx; mov $0x101,%eax; xor %edx,%edx; wrmsr    // EFER: LME, SCE
    mov $0x80000033,%eax; mov %eax,%cr0    // PG NE ET MP PE
    ljmpl $8,$start64

    .code64
start64:
    mov $0x90000,%esp
    // XCR0: whatever this CPU has of x87, SSE, AVX, AVX-512 and AMX.
    mov $13,%eax; xor %ecx,%ecx; cpuid; and $0x600e7,%eax; xor %edx,%edx; xor %ecx,%ecx; xsetbv
    fninit; movl $0x1f80,0x70028; ldmxcsr 0x70028
    call kmain

    .globl sysentry
sysentry:
    mov %rsp,0x70000
    mov $0x80000,%esp
    push %rcx; push %r11; push %rdi; push %rsi; push %rdx; push %r8; push %r9; push %r10
    mov %r10,%rcx; push %rax
    call ksys
    add $8,%rsp
    pop %r10; pop %r9; pop %r8; pop %rdx; pop %rsi; pop %rdi; pop %r11; pop %rcx
    mov 0x70000,%rsp
    push %r11; popfq; jmp *%rcx

    .globl enter
enter:
    mov %rsi,%rsp; xor %edx,%edx; xor %ebp,%ebp; xor %ebx,%ebx; jmp *%rdi

    .globl vec
    .balign 16
vec:
    .set i,0
    .rept 32
    .balign 16
    push $i; jmp fault
    .set i,i+1
    .endr
fault:
    mov %rsp,%rdi; mov $0x78000,%esp; jmp kfault

    .balign 8
gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
gdtr:
    .word 31; .long gdt

    .section .reset,"ax"
    .code16
    ljmp $0xf000,$(start16 - 0xf0000)
