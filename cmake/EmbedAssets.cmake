# Puts files into the binary as they are. Included, it defines
#   embed_assets(target FILES path...)       paths relative to resources/, which are also the names they are found by
# Run with cmake -P it writes the assembly (one .incbin a file) and the table of names for OUTPUT.
if(CMAKE_SCRIPT_MODE_FILE)
  # ELF's words for it, or those of macOS, where names in C begin with an underscore.
  if(MACH_O)
    set(symbol "_cohort_asset_")
    set(hidden .private_extern)
    set(assembly "  .section __TEXT,__const\n")
    set(ending "")
  else()
    set(symbol "cohort_asset_")
    set(hidden .hidden)
    set(assembly "  .section .rodata\n")
    set(ending "  .section .note.GNU-stack,\"\",%progbits\n")
  endif()
  set(declarations "")
  set(entries "")
  set(number 0)
  foreach(name IN LISTS NAMES)
    string(APPEND assembly
      "  .balign 64\n  .globl ${symbol}${number}\n  ${hidden} ${symbol}${number}\n${symbol}${number}:\n"
      "  .incbin \"${ROOT}/${name}\"\n"
      "  .globl ${symbol}${number}_end\n  ${hidden} ${symbol}${number}_end\n${symbol}${number}_end:\n  .byte 0\n")
    string(APPEND declarations "extern const char cohort_asset_${number}[];\nextern const char cohort_asset_${number}_end[];\n")
    string(APPEND entries "    {\"${name}\", cohort_asset_${number}, cohort_asset_${number}_end},\n")
    math(EXPR number "${number} + 1")
  endforeach()
  file(WRITE ${OUTPUT}.S "${assembly}${ending}")
  file(WRITE ${OUTPUT}.cc
    "#include \"assets/table.h\"\n\nextern \"C\" {\n${declarations}}\n\n"
    "namespace cohort::assets {\n\nextern const Entry kEntries[] = {\n${entries}};\n"
    "extern const size_t kEntryCount = ${number};\n\n}  // namespace cohort::assets\n")
  return()
endif()

set(EMBED_ASSETS_SCRIPT ${CMAKE_CURRENT_LIST_FILE})

function(embed_assets target)
  cmake_parse_arguments(ARG "" "" "FILES" ${ARGN})
  set(root ${CMAKE_SOURCE_DIR}/resources)
  set(output ${CMAKE_CURRENT_BINARY_DIR}/${target}_assets)
  list(TRANSFORM ARG_FILES PREPEND ${root}/ OUTPUT_VARIABLE paths)
  add_custom_command(OUTPUT ${output}.S ${output}.cc
    COMMAND ${CMAKE_COMMAND} "-DMACH_O=${APPLE}" "-DROOT=${root}" "-DNAMES=${ARG_FILES}" "-DOUTPUT=${output}" -P ${EMBED_ASSETS_SCRIPT}
    DEPENDS ${EMBED_ASSETS_SCRIPT}
    VERBATIM)
  set_source_files_properties(${output}.S PROPERTIES OBJECT_DEPENDS "${paths}")
  target_sources(${target} PRIVATE ${output}.S ${output}.cc)
endfunction()
