# find_package(raptly CONFIG COMPONENTS attention model)
include(CMakePackageConfigHelpers)
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/raptly)
install(FILES LICENSE README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY include/raptly DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS raptly_attention EXPORT raptlyAttention
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT raptlyAttention NAMESPACE raptly:: DESTINATION ${config_dir})
if(RAPTLY_MODEL)
  install(TARGETS raptly_model EXPORT raptlyModel INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(EXPORT raptlyModel NAMESPACE raptly:: DESTINATION ${config_dir})
endif()
configure_package_config_file(cmake/raptlyConfig.cmake.in ${PROJECT_BINARY_DIR}/raptlyConfig.cmake
  INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/raptlyConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/raptlyConfig.cmake
  ${PROJECT_BINARY_DIR}/raptlyConfigVersion.cmake DESTINATION ${config_dir})
